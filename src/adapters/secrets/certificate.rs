//! The key that certificates are signed with.
//!
//! Invariant: the private half stays in its file and in memory, and the same file gives the same signatures for ever:
//! Ed25519 draws nothing when it signs (RFC 8032). How the file is made is `key_file`.

use std::path::Path;

use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::draw::SystemDraw;
use super::key_file::{self, SecretsError};
use crate::ports::certification::CertificateSigner;

/// An Ed25519 key.
pub struct CertificateKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl CertificateKey {
    /// Uses the key in this file, and makes one there if there is no file.
    ///
    /// # Errors
    /// The file cannot be read or made, or is not of 32 bytes.
    pub fn open(file: &Path) -> Result<Self, SecretsError> {
        let seed = key_file::open(file, &SystemDraw::checked()?)?;
        let refused = || SecretsError::WrongLength { file: file.to_owned(), length: 32 };
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_refused| refused())?;
        let public = pair.public_key().as_ref().try_into().map_err(|_other_length| refused())?;
        Ok(Self { pair, public })
    }
}

impl CertificateSigner for CertificateKey {
    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        // An Ed25519 signature has 64 bytes; one that had not would verify nowhere.
        for (place, byte) in signature.iter_mut().zip(self.pair.sign(bytes).as_ref()) {
            *place = *byte;
        }
        signature
    }

    fn public_key(&self) -> [u8; 32] {
        self.public
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn what_is_signed_verifies_after_a_restart_and_nothing_else_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("certificate.key");
        let first = CertificateKey::open(&file).expect("a key is made");
        let again = CertificateKey::open(&file).expect("a key is read");
        assert_eq!(first.sign(b"text"), again.sign(b"text"));
        let key = UnparsedPublicKey::new(&ED25519, again.public_key());
        assert!(key.verify(b"text", &first.sign(b"text")).is_ok());
        assert!(key.verify(b"texts", &first.sign(b"text")).is_err());
    }
}
