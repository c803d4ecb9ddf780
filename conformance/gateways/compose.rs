//! `deploy/compose.yaml`: everything that it names is there, and its gateways would start with what they are told.
//!
//! Invariant: containers are not run here; what is claimed is what files can tell.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const COMPOSE: &str = include_str!("../../deploy/compose.yaml");
const BALANCER: &str = include_str!("../../deploy/compose/haproxy.cfg");

fn deploy() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy"))
}

/// Paths of this machine that the file names, as it names them.
fn named() -> BTreeSet<&'static str> {
    let words = COMPOSE.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
    words.filter(|word| word.starts_with("./")).map(|word| word.split(':').next().unwrap_or(word)).collect()
}

#[test]
fn every_file_that_compose_names_is_there_or_a_secret() {
    let named = named();
    let secrets: Vec<_> = named.iter().filter(|path| path.starts_with("./compose/secrets/")).copied().collect();
    assert_eq!(
        secrets,
        ["./compose/secrets/master.key", "./compose/secrets/postgres.password", "./compose/secrets/redis.password"]
    );
    let others: Vec<_> = named.iter().filter(|path| !path.starts_with("./compose/secrets/")).collect();
    assert_eq!(others.len(), 2, "{others:?}");
    for path in others {
        assert!(deploy().join(path).is_file(), "{path}");
    }
    assert!(COMPOSE.contains("dockerfile: deploy/Containerfile") && deploy().join("Containerfile").is_file());
}

#[test]
fn secrets_are_made_once_and_are_not_part_of_the_tree() {
    let copy = tempfile::tempdir().expect("a directory");
    let script = copy.path().join("secrets.sh");
    std::fs::copy(deploy().join("compose/secrets.sh"), &script).expect("a copy");
    let read = |name: &str| std::fs::read(copy.path().join("secrets").join(name)).expect("it was made");
    let make = || assert!(Command::new("bash").arg(&script).status().expect("bash").success());
    make();
    let first = ["master.key", "postgres.password", "redis.password"].map(read);
    assert_eq!(first[0].len(), 32, "a permanent key");
    assert!(first[1..].iter().all(|password| password.len() >= 24), "{first:?}");
    make();
    assert_eq!(["master.key", "postgres.password", "redis.password"].map(read), first, "none is written over");
    let ignored = include_str!("../../.gitignore");
    assert!(ignored.contains("deploy/compose/secrets/") && include_str!("../../.dockerignore").contains("secrets"));
}

#[test]
fn its_gateways_would_start_with_what_they_are_told() {
    let checked = Command::new(env!("CARGO_BIN_EXE_onbill"))
        .args(["config", "check"])
        .arg(deploy().join("compose/onbill.toml"))
        .output()
        .expect("the built binary");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let config = include_str!("../../deploy/compose/onbill.toml");
    for secret in ["master_key", "postgres_password", "redis_password"] {
        assert!(config.contains(&format!("/run/secrets/{secret}\"")), "{secret} is read");
    }
    // Services are found by their names.
    for service in ["gateway-1", "gateway-2", "redis", "postgres", "migrate", "balancer"] {
        assert!(COMPOSE.contains(&format!("\n  {service}:")), "{service}");
    }
    assert!(config.contains("@postgres:5432/") && config.contains("redis:6379"));
    assert!(
        BALANCER.contains("server gateway-1 gateway-1:8080") && BALANCER.contains("server gateway-2 gateway-2:8080")
    );
}
