//! How Redis is reached: one server, a master that Sentinels name, or a Cluster; with or without TLS and a user.
//!
//! Invariant: settings that can never work are refused when the adapter is made; a server that is away is not, since it
//! may come back. Passwords are in nothing that prints. All Sentinels are asked at once, and the first is believed whose
//! master says itself that it is one: after an election some know of it later than others, and a master that only hangs,
//! or a Sentinel that does, must not hold up the way to the new one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates, TlsMode, Value,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Commands that wait for their turn on the connection, beyond those that Redis works on.
const QUEUE_MAX: usize = 1024;
/// How often the client of a Cluster tries another node, or the same after a redirection, within one wait.
const CLUSTER_RETRIES: u32 = 4;
/// Milliseconds that it rests between two of these tries.
const CLUSTER_PAUSE_MS: u64 = 10;
/// The same when it has rested a few times.
const CLUSTER_PAUSE_MAX_MS: u64 = 100;

/// Which servers there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Standalone,
    /// Sentinels, who know where the master of this name is.
    Sentinel {
        /// The name.
        master: String,
    },
    /// A Cluster; the addresses are those of some of its nodes.
    Cluster,
}

/// How Redis is reached.
#[derive(Clone)]
pub struct Settings {
    /// Which servers there are.
    pub topology: Topology,
    /// Hosts and ports: of the server, of the Sentinels, or of nodes of the Cluster.
    pub addresses: Vec<(String, u16)>,
    /// The user, where it is another than `default`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The number of the database; only 0 in a Cluster.
    pub database: u32,
    /// Whether TLS is spoken, and who is trusted.
    pub tls: Tls,
    /// Longest wait for a connection that can be used.
    pub connect_timeout: Duration,
    /// Longest wait for an answer.
    pub response_timeout: Duration,
    /// What the name of each key begins with.
    pub key_prefix: String,
    /// How long a proof that a PIN was right is kept. Zero: nobody asks for them.
    pub proofs_kept: Duration,
    /// How long final answers are kept for repeats. Zero: they are not.
    pub answers_kept: Duration,
}

/// Whether TLS is spoken, and who is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// It is not.
    Off,
    /// The public authorities are.
    Public,
    /// Only these are, in PEM.
    Own(Vec<u8>),
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("topology", &self.topology)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// The settings can never work.
#[derive(Debug, thiserror::Error)]
#[error("Redis cannot be reached with these settings")]
pub struct SettingsError(#[from] redis::RedisError);

/// Makes connections.
pub(super) enum Connector {
    Standalone(Box<Client>, AsyncConnectionConfig),
    Sentinel(Arc<Sentinels>),
    Cluster(Box<ClusterClient>),
}

/// A connection: all callers share it.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn send(mut self, command: &Cmd) -> RedisResult<Value> {
        match &mut self {
            Self::One(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        }?
        .extract_error()
    }

    /// Whether the client behind it finds new nodes by itself, so that one error does not speak for all of it.
    pub(super) const fn heals_itself(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl Connector {
    pub(super) fn new(settings: &Settings) -> RedisResult<Self> {
        // The wait for an answer is bounded where commands are sent, for all topologies alike.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE_MAX);
        Ok(match &settings.topology {
            Topology::Standalone => {
                let first = infos(settings)?.into_iter().next();
                let info = first.ok_or((ErrorKind::InvalidClientConfig, "there is no address"))?;
                Self::Standalone(Box::new(client(settings, info)?), config)
            }
            Topology::Sentinel { master } => Self::Sentinel(Arc::new(Sentinels::new(settings, master, config)?)),
            Topology::Cluster => Self::Cluster(Box::new(cluster(settings)?)),
        })
    }

    /// Connects, without a bound of its own.
    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        Ok(match self {
            Self::Standalone(client, config) => {
                Connection::One(client.get_multiplexed_async_connection_with_config(config).await?)
            }
            Self::Sentinel(sentinels) => Connection::One(master(sentinels).await?),
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }
}

fn address(host: &str, port: u16, tls: &Tls) -> ConnectionAddr {
    match tls {
        Tls::Off => ConnectionAddr::Tcp(host.to_owned(), port),
        Tls::Public | Tls::Own(_) => {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None }
        }
    }
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn infos(settings: &Settings) -> RedisResult<Vec<ConnectionInfo>> {
    settings.addresses.iter().map(|(host, port)| info(settings, host, *port)).collect()
}

/// A server that keeps what is short-lived, with who asks it.
fn info(settings: &Settings, host: &str, port: u16) -> RedisResult<ConnectionInfo> {
    let mut login = RedisConnectionInfo::default().set_db(i64::from(settings.database));
    if let Some(user) = &settings.user {
        login = login.set_username(user);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password);
    }
    let info = address(host, port, &settings.tls).into_connection_info()?;
    Ok(info.set_redis_settings(login).set_tcp_settings(tcp()))
}

fn certificates(settings: &Settings) -> Option<TlsCertificates> {
    match &settings.tls {
        Tls::Off => None,
        Tls::Public => Some(TlsCertificates { client_tls: None, root_cert: None }),
        Tls::Own(pem) => Some(TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) }),
    }
}

fn client(settings: &Settings, info: ConnectionInfo) -> RedisResult<Client> {
    match certificates(settings) {
        None => Client::open(info),
        Some(certificates) => Client::build_with_tls(info, certificates),
    }
}

/// The Sentinels, and how the master that they name is reached. They are asked without a user; it is given one.
pub(super) struct Sentinels {
    clients: Vec<Client>,
    master: String,
    settings: Settings,
    config: AsyncConnectionConfig,
}

impl Sentinels {
    fn new(settings: &Settings, master: &str, config: AsyncConnectionConfig) -> RedisResult<Self> {
        let open = |(host, port): &(String, u16)| {
            let info = address(host, *port, &settings.tls).into_connection_info()?;
            client(settings, info.set_tcp_settings(tcp()))
        };
        let clients = settings.addresses.iter().map(open).collect::<RedisResult<Vec<_>>>()?;
        Ok(Self { clients, master: master.to_owned(), settings: settings.clone(), config })
    }

    /// What one of them calls the master.
    async fn ask(&self, sentinel: &Client) -> RedisResult<(String, u16)> {
        let mut connection = sentinel.get_multiplexed_async_connection_with_config(&self.config).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let named: Option<(String, u16)> = question.query_async(&mut connection).await?;
        named.ok_or_else(|| (ErrorKind::InvalidClientConfig, "the Sentinels know no master of this name").into())
    }

    /// A connection to what should be the master, if it says so too.
    async fn reach(&self, (host, port): (String, u16)) -> RedisResult<MultiplexedConnection> {
        let info = info(&self.settings, &host, port)?;
        let client = client(&self.settings, info)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&self.config).await?;
        match redis::cmd("ROLE").query_async::<Vec<Value>>(&mut connection).await {
            Ok(role) if role.first().is_some_and(is_master) => Ok(connection),
            Ok(_) => Err((ErrorKind::Server(ServerErrorKind::ReadOnly), "it is not the master").into()),
            // A user that may not ask: one that is no master takes no writes, and so is found out.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(connection),
            Err(error) => Err(error),
        }
    }

    /// The way by one of them, each half of it within the time that a connection may take.
    async fn by(&self, sentinel: &Client) -> RedisResult<MultiplexedConnection> {
        let late = |_| RedisError::from((ErrorKind::Io, "it does not answer"));
        let patience = self.settings.connect_timeout;
        let named = timeout(patience, self.ask(sentinel)).await.map_err(late)??;
        timeout(patience, self.reach(named)).await.map_err(late)?
    }
}

fn is_master(role: &Value) -> bool {
    String::from_redis_value(role.clone()).is_ok_and(|role| role == "master")
}

/// A connection to the master, by whichever Sentinel is first to know it. The others are not waited for.
async fn master(sentinels: &Arc<Sentinels>) -> RedisResult<MultiplexedConnection> {
    let mut ways = JoinSet::new();
    for sentinel in &sentinels.clients {
        let (sentinels, sentinel) = (Arc::clone(sentinels), sentinel.clone());
        ways.spawn(async move { sentinels.by(&sentinel).await });
    }
    let mut failed = RedisError::from((ErrorKind::Io, "no Sentinel answers"));
    while let Some(way) = ways.join_next().await {
        match way {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => failed = error,
            Err(_) => {}
        }
    }
    Err(failed)
}

fn cluster(settings: &Settings) -> RedisResult<ClusterClient> {
    let mut builder = ClusterClientBuilder::new(infos(settings)?)
        .tcp_settings(tcp())
        .connection_timeout(settings.connect_timeout)
        .response_timeout(settings.response_timeout)
        .retries(CLUSTER_RETRIES)
        .min_retry_wait(CLUSTER_PAUSE_MS)
        .max_retry_wait(CLUSTER_PAUSE_MAX_MS);
    if let Some(certificates) = certificates(settings) {
        builder = builder.tls(TlsMode::Secure).certs(certificates);
    }
    builder.build()
}
