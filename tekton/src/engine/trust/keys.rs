//! Public keys and signatures: one key, one signature, one checksum.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::BigUint;
use rsa::pkcs1v15::Pkcs1v15Sign;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// Bits of the RSA keys that are taken.
const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=8192;
/// Bytes of a key's text.
const PEM_MAX: usize = 64 << 10;

/// What a checksum is hashed with before it is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hash {
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The algorithm of a name; none is SHA-256.
    pub fn of(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "sha224" => Some(Self::Sha224),
            "sha256" | "" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha224 => Sha224::digest(message).to_vec(),
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }

    /// What stands before the digest in a signature by RSA: its algorithm and length, in DER.
    fn prefix(self) -> Box<[u8]> {
        let (id, length) = match self {
            Self::Sha256 => (1, 32),
            Self::Sha384 => (2, 48),
            Self::Sha512 => (3, 64),
            Self::Sha224 => (4, 28),
        };
        let head =
            [0x30, 17 + length, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, id, 5, 0, 4, length];
        Box::new(head)
    }
}

/// A public key.
#[derive(Clone, Debug)]
pub enum PublicKey {
    /// On curve P-256.
    P256(Box<p256::ecdsa::VerifyingKey>),
    /// On curve P-384.
    P384(Box<p384::ecdsa::VerifyingKey>),
    /// RSA.
    Rsa(Box<rsa::RsaPublicKey>),
    /// Ed25519.
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
}

/// Why a key cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("key cannot be decoded: {0}")]
    Decode(&'static str),
    /// It is of a kind that is not known here.
    #[error("verifier cannot to be loaded: {0}")]
    Load(&'static str),
}

impl PublicKey {
    /// The key in a PEM text: a public key, or that of a certificate.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn of_pem(text: &str) -> Result<Self, KeyError> {
        let no_pem = KeyError::Decode("PEM decoding failed");
        if text.len() > PEM_MAX {
            return Err(KeyError::Decode("it is longer than a key can be"));
        }
        let after = text.split_once("-----BEGIN ").ok_or(no_pem.clone())?.1;
        let (label, after) = after.split_once("-----").ok_or(no_pem.clone())?;
        let (body, _) = after.split_once(&format!("-----END {label}-----")).ok_or(no_pem.clone())?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| no_pem)?;
        let bad = KeyError::Decode("it is not the DER of a public key");
        match label {
            "PUBLIC KEY" => Self::of_spki(Der(&der).sequence().ok_or(bad)?.0),
            "RSA PUBLIC KEY" => Self::of_rsa(&der),
            "CERTIFICATE" => Self::of_spki(certified(&der).ok_or(bad)?),
            _ => Err(KeyError::Decode(
                "unknown Public key PEM file type. Are you passing the correct public key?",
            )),
        }
    }

    /// The key of a SubjectPublicKeyInfo, without its outermost sequence.
    fn of_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let bad = KeyError::Decode("it is not the DER of a public key");
        let mut reader = Der(spki);
        let mut algorithm = reader.sequence().ok_or(bad.clone())?;
        let kind = algorithm.take(6).ok_or(bad.clone())?;
        let bits = reader.take(3).and_then(|bits| bits.strip_prefix(&[0])).ok_or(bad.clone())?;
        match kind {
            // ecPublicKey, and its curve.
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1] => match algorithm.take(6) {
                Some([0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]) => {
                    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(bits);
                    key.map(|key| Self::P256(Box::new(key))).map_err(|_| bad)
                }
                Some([0x2b, 0x81, 4, 0, 0x22]) => {
                    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(bits);
                    key.map(|key| Self::P384(Box::new(key))).map_err(|_| bad)
                }
                _ => Err(KeyError::Load("of elliptic curves, P-256 and P-384 are served")),
            },
            // rsaEncryption.
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1] => Self::of_rsa(bits),
            // Ed25519.
            [0x2b, 0x65, 0x70] => {
                let bytes: [u8; 32] = bits.try_into().map_err(|_| bad.clone())?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes);
                key.map(|key| Self::Ed25519(Box::new(key))).map_err(|_| bad)
            }
            _ => Err(KeyError::Load("of public keys, ECDSA, RSA and Ed25519 are served")),
        }
    }

    fn of_rsa(der: &[u8]) -> Result<Self, KeyError> {
        let mut reader = Der(der).sequence().ok_or(KeyError::Decode("it is not the DER of an RSA key"))?;
        let mut number = || Some(BigUint::from_bytes_be(reader.take(2)?));
        let (Some(modulus), Some(exponent)) = (number(), number()) else {
            return Err(KeyError::Decode("it is not the DER of an RSA key"));
        };
        if !RSA_BITS.contains(&modulus.bits()) {
            return Err(KeyError::Load("RSA keys of 1024 to 8192 bits are served"));
        }
        let key = rsa::RsaPublicKey::new_with_max_size(modulus, exponent, *RSA_BITS.end());
        key.map(|key| Self::Rsa(Box::new(key))).map_err(|_| KeyError::Load("it is no RSA key"))
    }

    /// Whether `signature` is this key's over `checksum`.
    pub fn has_signed(&self, hash: Hash, checksum: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&hash.digest(checksum), &signature).is_ok()),
            Self::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&hash.digest(checksum), &signature).is_ok()),
            Self::Rsa(key) => {
                let digest = hash.digest(checksum);
                let scheme = Pkcs1v15Sign { hash_len: Some(digest.len()), prefix: hash.prefix() };
                key.verify(scheme, &digest, signature).is_ok()
            }
            // These keys hash by themselves, in one way only.
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(checksum, &signature).is_ok()),
        }
    }
}

/// The SubjectPublicKeyInfo of a certificate, without its outermost sequence.
fn certified(der: &[u8]) -> Option<&[u8]> {
    let mut body = Der(der).sequence()?.sequence()?;
    if body.0.first() == Some(&0xa0) {
        body.take(0xa0)?;
    }
    // Serial number, signature algorithm, issuer, validity, subject.
    for tag in [2, 0x30, 0x30, 0x30, 0x30] {
        body.take(tag)?;
    }
    body.take(0x30)
}

/// Reads DER, one element after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(2)?;
        if head[0] != tag {
            return None;
        }
        let (length, rest) = match head[1] {
            short @ 0..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }

    fn sequence(&mut self) -> Option<Der<'a>> {
        self.take(0x30).map(Der)
    }
}
