//! What rests: connections that nobody speaks on.
//!
//! Invariant: connections are held until memory has been read.

use std::time::Duration;

use super::gateway::{Bench, Proc};
use super::machine;
use super::sample::Sample;

/// Connections that are held.
const CONNECTIONS: usize = 10_000;

/// What each of many idle connections takes. Their number is kept within what this process may open.
pub fn held(bench: &Bench, server: &Proc) -> Result<Sample, String> {
    std::thread::sleep(Duration::from_millis(500));
    let before = machine::resident_kib(server.pid()).ok_or("no such process")?;
    let mut command = bench.machine.load(&bench.own.to_string_lossy());
    command.args(["role", "hold", &server.url, &CONNECTIONS.to_string(), &server.pid().to_string()]);
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    let (Some(count), Some(after)) = (words.next(), words.next()) else {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    };
    if count < CONNECTIONS as f64 {
        return Err(format!("only {count} of {CONNECTIONS} connections came about (ulimit -n?)"));
    }
    let each = (after - before as f64) / count;
    Ok(Sample { peak_kib: Some(after), figure: Some(each), ..Sample::default() })
}

/// Holds connections, and prints how many and what the server's memory is then.
pub async fn hold(url: &str, count: usize, server: u32) {
    let address = url.trim_start_matches("http://");
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let Ok(stream) = tokio::net::TcpStream::connect(address).await else { break };
        let Ok((sender, connection)) = h2::client::handshake(stream).await else { break };
        tokio::spawn(connection);
        held.push(sender);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("{} {}", held.len(), machine::resident_kib(server).unwrap_or_default());
}
