//! The keys that an issuer publishes (RFC 7517, RFC 7518, RFC 8037), and what they have signed.
//!
//! Invariant: a key verifies by the algorithms of its own kind only, and, where it names one, by that alone; so no token
//! can choose what its key is taken for. Secrets (`oct`), keys for encryption and kinds that we do not know are left
//! out. RSA keys are of 2048 to 8192 bits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::token::Algorithm;

/// Most keys of an issuer that are looked at.
const KEYS_MAX: usize = 64;
/// Bytes of the modulus of the smallest and largest RSA key.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// One key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    kid: Option<String>,
    alg: Option<String>,
    public: Public,
}

#[derive(Debug, Clone)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads a set of keys. What is well formed and of no use here is left out; the error is a set that is none.
pub(super) fn read(text: &[u8]) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|error| format!("it is no set of keys: {error}"))?;
    if set.keys.len() > KEYS_MAX {
        return Err(format!("it holds more than {KEYS_MAX} keys"));
    }
    Ok(set.keys.into_iter().filter_map(|jwk| Key::of(serde_json::from_value(jwk).ok()?)).collect())
}

impl Key {
    fn of(jwk: Jwk) -> Option<Self> {
        let signs = jwk.used_for.as_deref().is_none_or(|word| word == "sig");
        let verifies = jwk.key_ops.as_ref().is_none_or(|words| words.iter().any(|word| word == "verify"));
        let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
        let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (bytes(jwk.n)?, bytes(jwk.e)?);
                // RFC 7518 says no leading zeros; some write them all the same.
                let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
                MODULUS_BYTES.contains(&n.len()).then_some(Public::Rsa { n, e })
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(jwk.x)?, bytes(jwk.y)?);
                (x.len() == 32 && y.len() == 32).then(|| Public::P256([&[4][..], &x, &y].concat()))
            }
            ("OKP", Some("Ed25519")) => bytes(jwk.x).filter(|x| x.len() == 32).map(Public::Ed25519),
            _ => None,
        };
        (signs && verifies).then_some(Self { kid: jwk.kid, alg: jwk.alg, public: public? })
    }

    /// What it is called.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether it may have signed by an algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match &self.public {
            Public::Rsa { .. } => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Public::P256(_) => algorithm == Algorithm::Es256,
            Public::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        // RFC 9864 calls EdDSA over Ed25519 by the curve's name.
        let is_named = |alg: &str| alg == algorithm.word() || (algorithm == Algorithm::EdDsa && alg == "Ed25519");
        kind && self.alg.as_deref().is_none_or(is_named)
    }

    /// Whether it has signed this.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let held = match &self.public {
            Public::Rsa { n, e } => {
                let parameters = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::Es256 | Algorithm::EdDsa => return false,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature)
            }
            Public::P256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            Public::Ed25519(point) => UnparsedPublicKey::new(&signature::ED25519, point).verify(signed, signature),
        };
        held.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::jws::Jws;
    use super::*;

    /// RFC 7515, A.2: RS256.
    const RS256: (&str, &str) = (
        r#"{"keys":[{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}]}"#,
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    /// RFC 7515, A.3: ES256.
    const ES256: (&str, &str) = (
        r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    /// RFC 8037, A.4: Ed25519.
    const EDDSA: (&str, &str) = (
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );

    #[test]
    fn the_vectors_of_the_standards_hold_and_hold_under_no_other_algorithm() {
        for ((set, token), right) in [(RS256, Algorithm::Rs256), (ES256, Algorithm::Es256), (EDDSA, Algorithm::EdDsa)] {
            let key = read(set.as_bytes()).expect("a set").pop().expect("a key");
            let token = Jws::read(token.as_bytes()).expect("a token");
            assert_eq!(token.alg, right.word());
            for algorithm in Algorithm::ALL {
                let held = key.verifies(algorithm, token.signed, &token.signature);
                assert_eq!(held, algorithm == right, "{set} by {}", algorithm.word());
            }
            let mut forged = token.signed.to_vec();
            forged.extend_from_slice(b"A");
            assert!(!key.verifies(right, &forged, &token.signature));
        }
    }

    #[test]
    fn only_public_keys_that_sign_are_keys() {
        let rsa = |more: &str| RS256.0.replace(r#""kty":"RSA""#, &format!(r#""kty":"RSA",{more}"#));
        let count = |set: &str| read(set.as_bytes()).map(|keys| keys.len());
        assert_eq!(count(&rsa(r#""use":"sig""#)), Ok(1));
        assert_eq!(count(&rsa(r#""key_ops":["verify"]"#)), Ok(1));
        assert_eq!(count(&rsa(r#""use":"enc""#)), Ok(0));
        assert_eq!(count(&rsa(r#""key_ops":["encrypt"]"#)), Ok(0));
        assert_eq!(
            count(r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"x"},7,{},{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#),
            Ok(0)
        );
        assert_eq!(count(r#"{"keys":[]}"#), Ok(0));
        for none in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>", &format!(r#"{{"keys":[{}]}}"#, ["1"; 65].join(","))] {
            assert!(count(none).is_err(), "{none}");
        }
    }

    #[test]
    fn a_key_that_names_its_algorithm_is_good_for_that_alone() {
        let named = RS256.0.replace(r#""kty":"RSA""#, r#""kty":"RSA","alg":"PS256""#);
        let key = read(named.as_bytes()).expect("a set").pop().expect("a key");
        assert!(key.fits(Algorithm::Ps256) && !key.fits(Algorithm::Rs256) && !key.fits(Algorithm::Es256));
    }
}
