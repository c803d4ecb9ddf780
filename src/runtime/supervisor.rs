//! Tells whoever supervises this process how it goes: the datagrams of systemd's `sd_notify(3)`.
//!
//! Invariant: telling never waits and never fails anything: where nobody supervises, or nobody listens, nothing happens.
//! There is no watchdog here: a gateway that hangs is found by its `/healthz`.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::config::Environment;

/// Names the socket that listens, as systemd sets it.
const SOCKET: &str = "NOTIFY_SOCKET";

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It listens.
    Ready,
    /// It answers what is under way, and then ends.
    Stopping,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ready => "READY=1",
            Self::Stopping => "STOPPING=1",
        }
    }
}

/// Who supervises this process, if anybody does.
#[derive(Debug)]
pub struct Supervisor(Option<SocketAddr>);

impl Supervisor {
    /// Finds it in the environment: a path, or a name in the abstract namespace after an `@`.
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let address = environment.get(SOCKET).and_then(|name| match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(name).ok(),
        });
        Self(address)
    }

    /// Tells it.
    pub fn tell(&self, state: State) {
        let Some(address) = &self.0 else {
            return;
        };
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let told = socket.and_then(|socket| socket.send_to_addr(state.word().as_bytes(), address));
        if let Err(error) = told {
            tracing::warn!(%error, "the supervisor was not told {}", state.word());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_told_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("a socket");
        let name = format!("onbill-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let by_name = UnixDatagram::bind_addr(&address).expect("a socket");
        for (socket, named) in [(by_path, path.display().to_string()), (by_name, format!("@{name}"))] {
            let supervisor = Supervisor::of(&Environment::of([(SOCKET, &named)]));
            supervisor.tell(State::Ready);
            supervisor.tell(State::Stopping);
            for expected in ["READY=1", "STOPPING=1"] {
                let mut buffer = [0; 64];
                let length = socket.recv(&mut buffer).expect("a datagram");
                assert_eq!(&buffer[..length], expected.as_bytes());
            }
        }
    }

    #[test]
    fn nobody_has_to_listen() {
        Supervisor::of(&Environment::default()).tell(State::Ready);
        Supervisor::of(&Environment::of([(SOCKET, "/nowhere/at/all")])).tell(State::Ready);
    }
}
