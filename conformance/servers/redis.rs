//! Redis as the tests start it: one server, a Cluster of three and replicas of them, or a master with a replica and three
//! Sentinels.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo};
use tempfile::TempDir;

use super::free_port;

/// Longest wait for a server to do what it was told: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a server until it is told to end it, or nobody is left to tell: its input then ends.
const UNTIL_INPUT_ENDS: &str = r#"redis-server "$@" >/dev/null 2>&1 & echo $!; read _; kill -9 $! 2>/dev/null"#;

/// A process of redis-server.
struct Process {
    shell: Child,
    id: u32,
}

impl Process {
    fn start(arguments: &[String]) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", UNTIL_INPUT_ENDS, "redis"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("its output")).read_line(&mut line).expect("the id of its process");
        Self { shell, id: line.trim().parse().expect("the id of its process") }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id.to_string()]).status().expect("kill");
        assert!(status.success(), "the server has ended by itself");
    }

    fn end(&mut self) {
        if let Some(mut input) = self.shell.stdin.take() {
            // The shell may have ended already.
            let _ = input.write_all(b"\n");
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The user, and the password, by which a test asks a server that asks for one.
const OWN_USER: &str = "the-test";

/// One server.
pub struct Server {
    port: u16,
    arguments: Vec<String>,
    login: RedisConnectionInfo,
    process: Mutex<Option<Process>>,
    dir: TempDir,
}

impl Server {
    /// A server with nothing in it, which keeps nothing on disk.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with more settings: each a name and its value.
    pub fn with(settings: &[&str]) -> Self {
        let server = Self::prepared(settings, RedisConnectionInfo::default());
        server.run();
        server
    }

    /// A server that asks for a user and a password: this one, with these rights, and one of the test itself.
    pub fn with_user(user: &str, password: &str, rights: &[&str], settings: &[&str]) -> Self {
        let own_rule = format!(">{OWN_USER}");
        let password_rule = format!(">{password}");
        let mut all = vec!["--user", "default", "off", "--user", OWN_USER, "on", &own_rule, "~*", "&*", "+@all"];
        all.extend_from_slice(&["--user", user, "on", &password_rule]);
        all.extend_from_slice(rights);
        all.extend_from_slice(settings);
        let login = RedisConnectionInfo::default().set_username(OWN_USER).set_password(OWN_USER);
        let server = Self::prepared(&all, login);
        server.run();
        server
    }

    fn prepared(settings: &[&str], login: RedisConnectionInfo) -> Self {
        let (port, dir) = (free_port(), TempDir::new().expect("a temporary directory"));
        let port_text = port.to_string();
        let dir_text = dir.path().to_str().expect("UTF-8");
        let own = ["--port", &port_text, "--bind", "127.0.0.1", "--dir", dir_text, "--save", "", "--appendonly", "no"];
        let arguments = own.iter().chain(settings).map(ToString::to_string).collect();
        Self { port, arguments, login, process: Mutex::new(None), dir }
    }

    fn run(&self) {
        *self.process.lock().expect("no panic") = Some(Process::start(&self.arguments));
        self.eventually("answer", |server| server.ask::<String>(&["PING"]).is_ok());
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Kills it as a crash would.
    pub fn kill(&self) {
        drop(self.process.lock().expect("no panic").take());
    }

    /// Starts it again on the same port, empty.
    pub fn restart(&self) {
        self.kill();
        self.run();
    }

    /// Stops it in the middle of whatever it does; connections stay open.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        self.process.lock().expect("no panic").as_ref().expect("it runs").signal(name);
    }

    /// Forgets all keys.
    pub fn flush(&self) {
        self.ask::<()>(&["FLUSHALL"]).expect("it answers");
    }

    /// Asks it something.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let info: ConnectionInfo = ConnectionAddr::Tcp("127.0.0.1".to_owned(), self.port).into_connection_info()?;
        let client = redis::Client::open(info.set_redis_settings(self.login.clone()))?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query(&mut connection)
    }

    /// All its keys.
    pub fn keys(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"]).expect("it answers")
    }

    /// How often it was asked each command since it began, or since the last `CONFIG RESETSTAT`.
    pub fn calls(&self, command: &str) -> u64 {
        let info: String = self.ask(&["INFO", "commandstats"]).expect("it answers");
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().expect("a number").parse().expect("a number"))
    }

    fn eventually(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            assert!(since.elapsed() < PATIENCE, "the server on port {} does not {what}", self.port);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A Cluster of three masters that share the slots.
pub struct Cluster {
    nodes: Vec<Server>,
}

/// Settings of a Cluster's nodes.
const NODE: [&str; 6] =
    ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"];

impl Cluster {
    /// An empty one.
    pub fn start() -> Self {
        let nodes: Vec<_> = (0..3).map(|_| Server::with(&NODE)).collect();
        for (node, slots) in nodes.iter().zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]]) {
            node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]).expect("slots of its own");
            node.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string()]).expect("it meets the others");
        }
        for node in &nodes {
            node.eventually("know the Cluster", |node| {
                let info: String = node.ask(&["CLUSTER", "INFO"]).unwrap_or_default();
                info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
            });
        }
        Self { nodes }
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// A replica of one of its nodes, which takes that one's place when it is gone.
    pub fn replica_of(&self, node: &Server) -> Server {
        let replica = Server::with(&NODE);
        replica.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string()]).expect("it meets the others");
        let name: String = node.ask(&["CLUSTER", "MYID"]).expect("a name");
        replica.eventually("know its master", |replica| replica.ask::<()>(&["CLUSTER", "REPLICATE", &name]).is_ok());
        replica.eventually("follow", |replica| {
            let told: String = replica.ask(&["INFO", "replication"]).unwrap_or_default();
            told.contains("role:slave") && told.contains("master_link_status:up")
        });
        for other in &self.nodes {
            other.eventually("know the replica", |other| {
                other.ask::<Vec<String>>(&["CLUSTER", "REPLICAS", &name]).is_ok_and(|replicas| replicas.len() == 1)
            });
        }
        replica
    }

    /// Waits until a node follows another.
    pub fn until_following(&self, replica: &Server, master: &Server) {
        replica.eventually("follow", |replica| {
            let told: String = replica.ask(&["INFO", "replication"]).unwrap_or_default();
            told.contains(&format!("master_port:{}", master.port)) && told.contains("master_link_status:up")
        });
        let name: String = replica.ask(&["CLUSTER", "MYID"]).expect("a name");
        for other in self.nodes.iter().chain([master]) {
            other.eventually("know who follows", |other| {
                let nodes: String = other.ask(&["CLUSTER", "NODES"]).unwrap_or_default();
                let follows = |line: &str| line.starts_with(&name) && line.contains("slave") && !line.contains("fail");
                nodes.lines().any(follows)
            });
        }
    }
}

/// A master, its replica, and three Sentinels that watch them.
pub struct Watched {
    pub servers: [Server; 2],
    sentinels: Vec<Server>,
}

/// What the Sentinels call the master.
pub const MASTER: &str = "onbill-test";

impl Watched {
    /// An empty one.
    pub fn start() -> Self {
        let master = Server::start();
        let replica = Server::with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]);
        replica.eventually("follow", |replica| {
            replica.ask::<String>(&["INFO", "replication"]).unwrap_or_default().contains("master_link_status:up")
        });
        let sentinels: Vec<_> = (0..3).map(|_| sentinel(master.port)).collect();
        let watched = Self { servers: [master, replica], sentinels };
        for sentinel in &watched.sentinels {
            sentinel.eventually("know all others", |sentinel| {
                let about: String = sentinel.ask(&["INFO", "sentinel"]).unwrap_or_default();
                about.contains("slaves=1,sentinels=3")
            });
        }
        watched
    }

    /// Waits until one of the servers follows the other, and all Sentinels know it.
    pub fn until_following(&self, replica: &Server, master: &Server) {
        replica.eventually("follow", |replica| {
            let told: String = replica.ask(&["INFO", "replication"]).unwrap_or_default();
            told.contains(&format!("master_port:{}", master.port)) && told.contains("master_link_status:up")
        });
        for sentinel in &self.sentinels {
            sentinel.eventually("know who follows", |sentinel| {
                let known: Vec<Vec<String>> = sentinel.ask(&["SENTINEL", "REPLICAS", MASTER]).unwrap_or_default();
                let field = |known: &[String], name: &str| {
                    known.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone()).unwrap_or_default()
                };
                known.iter().any(|known| {
                    field(known, "port") == replica.port.to_string() && field(known, "master-link-status") == "ok"
                })
            });
        }
    }

    /// Hosts and ports of the Sentinels.
    pub fn sentinels(&self) -> impl Iterator<Item = u16> {
        self.sentinels.iter().map(|sentinel| sentinel.port)
    }
}

fn sentinel(master_port: u16) -> Server {
    let mut server = Server::prepared(&[], RedisConnectionInfo::default());
    let file: PathBuf = server.dir.path().join("sentinel.conf");
    let text = format!(
        "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {master_port} 2\n\
         sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 5000\n",
        server.port,
        server.dir.path().display(),
    );
    std::fs::write(&file, text).expect("a configuration file");
    server.arguments = vec![file.to_str().expect("UTF-8").to_owned(), "--sentinel".to_owned()];
    server.run();
    server
}
