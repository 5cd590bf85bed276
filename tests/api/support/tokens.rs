//! Tokens as somebody else would make them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384};

use super::Truth;

/// The secret of the `test` profile.
pub(crate) const SECRET: &str = "test-only-secret-test-only-secret";

/// Claims that the service on this database would accept for this user, if there is one.
pub(crate) fn claims(truth: &mut Truth, user: i64) -> Value {
    let now = now();
    let nonce = format!("SELECT CAST(token_nonce AS TEXT) AS value FROM users WHERE id = {user}");
    let nonce = truth.texts(&nonce).pop().unwrap_or("1".to_owned());
    let history = truth.texts("SELECT CAST(id AS TEXT) AS value FROM database_history");
    json!({
        "sub": user.to_string(), "nonce": nonce, "history": history[0],
        "iss": "alacena", "aud": "alacena", "iat": now, "exp": now + 600,
    })
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is past 1970").as_secs()
}

/// A token signed with HS256.
pub(crate) fn hs256(claims: &Value, secret: &str) -> String {
    signed("HS256", claims, |message| {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any secret will do");
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    })
}

/// A token signed with HS384.
pub(crate) fn hs384(claims: &Value, secret: &str) -> String {
    signed("HS384", claims, |message| {
        let mut mac =
            Hmac::<Sha384>::new_from_slice(secret.as_bytes()).expect("any secret will do");
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    })
}

/// A token that says it needs no signature.
pub(crate) fn unsigned(claims: &Value) -> String {
    signed("none", claims, |_| Vec::new())
}

/// A token that names an algorithm and is signed in this way.
pub(crate) fn signed(algorithm: &str, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = json!({ "alg": algorithm, "typ": "JWT" });
    let message = format!("{}.{}", part(&head), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}
