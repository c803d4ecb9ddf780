//! An issuer of tokens: real keys, real signatures, and a JWKS endpoint that rotates, lies, hangs and dies.
//!
//! Invariant: what it signs with is made anew for each test, by ring and openssl; nothing of the gateway's own code
//! makes or reads a token here.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970.
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}

/// A private key.
pub enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>, SystemRandom),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub fn rsa() -> Self {
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
            .output()
            .expect("openssl, which conformance/install installs");
        let key = PrivatePkcs8KeyDer::from_pem_slice(&made.stdout).expect("PEM");
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).expect("a key")))
    }

    pub fn ec() -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
        Self::Ec(Box::new(pair.expect("a key")), random)
    }

    pub fn ed() -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::Ed(Ed25519KeyPair::from_pkcs8(made.as_ref()).expect("a key"))
    }

    /// Its public half, as an issuer publishes it.
    pub fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let public: PublicKeyComponents<Vec<u8>> = PublicKeyComponents::from(pair.public());
                json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": encoded(public.n), "e": encoded(public.e) })
            }
            Self::Ec(pair, _) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": kid,
                        "x": encoded(&point[1..33]), "y": encoded(&point[33..]) })
            }
            Self::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": encoded(pair.public_key()) })
            }
        }
    }

    fn signature(&self, alg: &str, signed: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let random = SystemRandom::new();
                if alg == "PS256" {
                    pair.sign(&RSA_PSS_SHA256, &random, signed, &mut signature).expect("a signature");
                } else {
                    pair.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature).expect("a signature");
                }
                signature
            }
            Self::Ec(pair, random) => pair.sign(random, signed).expect("a signature").as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(signed).as_ref().to_vec(),
        }
    }

    /// A token with this header and these claims.
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = self.signature(header["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", encoded(signature))
    }
}

/// What the endpoint does when it is asked.
#[derive(Clone)]
pub enum Mood {
    /// Publishes these keys.
    Keys(Vec<Value>),
    /// Answers something else, with this status.
    Says(u16, String),
    /// Says nothing.
    Hangs,
    /// Closes at once.
    Dies,
}

/// The JWKS endpoint.
pub struct Endpoint {
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicUsize>,
    pub url: String,
}

impl Endpoint {
    pub async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/jwks", listener.local_addr().expect("an address"));
        let (mood, asked) = (Arc::new(Mutex::new(mood)), Arc::new(AtomicUsize::new(0)));
        tokio::spawn({
            let (mood, asked) = (Arc::clone(&mood), Arc::clone(&asked));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let mood = mood.lock().expect("no panic").clone();
                    tokio::spawn(answer(stream, mood));
                }
            }
        });
        Self { mood, asked, url }
    }

    pub fn now(&self, mood: Mood) {
        *self.mood.lock().expect("no panic") = mood;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answer(mut stream: TcpStream, mood: Mood) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let (status, body) = match mood {
        Mood::Keys(keys) => (200, json!({ "keys": keys }).to_string()),
        Mood::Says(status, body) => (status, body),
        Mood::Hangs => return std::future::pending().await,
        Mood::Dies => return,
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Whoever asked may have gone.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}
