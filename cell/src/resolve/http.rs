//! Files of web servers.

use std::time::Duration;

use ring::digest::{self, Algorithm};
use url::Url;

use super::ask::{Ask, Found, Params, RESOURCE_MAX, Trouble, hex};
use super::settings;
use crate::fetch::{Request, basic};

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Where the file is, as it was written.
    pub text: String,
    /// The same.
    pub url: Url,
    /// User, Secret and key of the password.
    pub login: Option<(String, String, String)>,
    /// What it must be.
    pub digest: Option<String>,
}

impl Wanted {
    /// Reads params.
    ///
    /// # Errors
    /// The reference's text.
    pub fn of(params: &Params) -> Result<Self, String> {
        let url = params.get("url").map(|text| parse(text).map(|url| (text.clone(), url))).transpose()?;
        let (user, secret) = (params.get("http-username"), params.get("http-password-secret"));
        let needs =
            |missing: &str, given: &str| format!("missing required param {missing} when using {given}");
        let login = match (user, secret) {
            (Some(_), None) => return Err(needs("http-password-secret", "http-username")),
            (None, Some(_)) => return Err(needs("http-username", "http-password-secret")),
            (Some(user), Some(_)) if user.is_empty() => {
                return Err("value http-username cannot be empty".into());
            }
            (Some(_), Some(secret)) if secret.is_empty() => {
                return Err("value http-password-secret cannot be empty".into());
            }
            (Some(user), Some(secret)) => {
                let key = params.get("http-password-secret-key").filter(|key| !key.is_empty());
                Some((user.clone(), secret.clone(), key.map_or("password", String::as_str).to_owned()))
            }
            (None, None) => None,
        };
        let (text, url) = url.ok_or("missing required http resolver params: url")?;
        Ok(Self { text, url, login, digest: params.get("digest").cloned() })
    }
}

fn parse(text: &str) -> Result<Url, String> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let url = match Url::parse(text) {
        Ok(url) => url,
        // Where there is no scheme at all, an absolute path would do for the reference's parser.
        Err(_) if text.starts_with('/') => return Err(format!("url {text} is not a valid http(s) url")),
        Err(_) => return Err(format!("cannot parse url {text}: parse {text:?}: invalid URI for request")),
    };
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err(format!("url {text} is not a valid http(s) url"));
    }
    Ok(url)
}

pub(super) async fn resolve(ask: &Ask<'_>) -> Result<Found, Trouble> {
    let wanted = Wanted::of(ask.params)?;
    let timeout = match ask.map.get("fetch-timeout") {
        Some(set) => settings::duration(set)
            .ok_or_else(|| format!("error parsing timeout value {set}: time: invalid duration {set:?}"))?,
        None => Duration::from_secs(60),
    };
    let mut request = Request::get(wanted.url.clone(), RESOURCE_MAX);
    if let Some((user, secret, key)) = &wanted.login {
        let password = ask.secret(ask.namespace, secret, key).await?;
        request.secrets.clear();
        request = request.authorization(basic(user, &String::from_utf8_lossy(&password)));
    }
    let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    let fetching = format!("error fetching URL: Get {:?}", wanted.text);
    let answer = ask.cell.host.within(timeout, ask.cell.fetch.fetch(request)).await;
    let answer = answer.map_err(|_| Trouble::Passing(format!("{fetching}: {late}")))?;
    let answer = answer.map_err(|error| match error {
        crate::fetch::FetchError::TooLarge(_) => Trouble::Answer(error.to_string()),
        error => Trouble::fetch(&fetching, &error),
    })?;
    match answer.status {
        200 => {}
        500.. => return Err(Trouble::Passing(format!("requested URL '{}' is not found", wanted.text))),
        _ => return Err(format!("requested URL '{}' is not found", wanted.text).into()),
    }
    if let Some(digest) = &wanted.digest {
        check_digest(digest, &answer.body).map_err(|why| format!("error validating digest: {why}"))?;
    }
    Ok(Found::of(&wanted.text, answer.body.to_vec()))
}

/// Whether `body` is what `digest` (`sha256:…`, `sha512:…`) says.
///
/// # Errors
/// The reference's text.
pub fn check_digest(digest: &str, body: &[u8]) -> Result<(), String> {
    let Some((name, wanted)) = digest.split_once(':') else {
        return Err(format!("invalid digest format: {digest}"));
    };
    let algorithm: &Algorithm = match name {
        "sha256" => &digest::SHA256,
        "sha512" => &digest::SHA512,
        _ => return Err(format!("invalid digest algorithm: {name}")),
    };
    let length = algorithm.output_len() * 2;
    if wanted.len() != length {
        return Err(format!("invalid {name} digest value, expected length: {length}, got: {}", wanted.len()));
    }
    if let Some(odd) = wanted.chars().find(|c| !c.is_ascii_hexdigit()) {
        let odd = format!("U+{:04X} {odd:?}", u32::from(odd));
        return Err(format!("error decoding expected SHA string: encoding/hex: invalid byte: {odd}"));
    }
    let got = hex(digest::digest(algorithm, body).as_ref());
    match got == wanted.to_ascii_lowercase() {
        true => Ok(()),
        false => Err(format!("SHA mismatch, expected {wanted}, got {got}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(params: &[(&str, &str)]) -> Result<Wanted, String> {
        Wanted::of(&params.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    }

    #[test]
    fn params_are_checked_in_the_references_words() {
        let url = ("url", "https://example.com/task.yaml");
        for (params, why) in [
            (&[][..], "missing required http resolver params: url"),
            (&[("url", "ftp://x/y")], "url ftp://x/y is not a valid http(s) url"),
            (&[("url", "nothing")], "cannot parse url nothing: parse \"nothing\": invalid URI for request"),
            (
                &[url, ("http-username", "u")],
                "missing required param http-password-secret when using http-username",
            ),
            (
                &[url, ("http-password-secret", "s")],
                "missing required param http-username when using http-password-secret",
            ),
            (
                &[url, ("http-username", ""), ("http-password-secret", "s")],
                "value http-username cannot be empty",
            ),
            (
                &[url, ("http-username", "u"), ("http-password-secret", "")],
                "value http-password-secret cannot be empty",
            ),
        ] {
            assert_eq!(of(params).unwrap_err(), why);
        }
        let wanted = of(&[url, ("http-username", "u"), ("http-password-secret", "s")]).unwrap();
        assert_eq!(wanted.login, Some(("u".into(), "s".into(), "password".into())));
    }

    #[test]
    fn digests_are_checked() {
        let (empty256, empty512) =
            ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "00".repeat(64));
        assert_eq!(check_digest(&format!("sha256:{empty256}"), b""), Ok(()));
        let wrong = check_digest(&format!("sha256:{empty256}"), b"x").unwrap_err();
        assert!(wrong.starts_with(&format!("SHA mismatch, expected {empty256}, got ")), "{wrong}");
        assert!(check_digest(&format!("sha512:{empty512}"), b"").unwrap_err().starts_with("SHA mismatch"));
        assert_eq!(check_digest("sha256", b"").unwrap_err(), "invalid digest format: sha256");
        assert_eq!(check_digest("md5:00", b"").unwrap_err(), "invalid digest algorithm: md5");
        assert_eq!(
            check_digest("sha256:00", b"").unwrap_err(),
            "invalid sha256 digest value, expected length: 64, got: 2"
        );
    }
}
