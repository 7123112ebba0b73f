//! Credentials of a ServiceAccount's Secrets: files that git, ssh and registry clients read, made in a folder that
//! only this step sees, and copied to its user's home.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Where the files are made.
const CREDS: &str = "/tekton/creds";
/// Where the Secrets are mounted, each in a folder of its name.
const SECRETS: &str = "/tekton/creds-secrets";
/// Everything that can be made.
const MADE: [&str; 4] = [".docker", ".gitconfig", ".git-credentials", ".ssh"];
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const SSH_PORT: &str = "22";

/// Makes the files that `flags` (flag and value) ask for and copies them to `home`. What cannot be made is told and
/// left out: a step that does not need it runs all the same.
pub fn place(flags: &[(String, String)], home: Option<&Path>) {
    if flags.is_empty() {
        return;
    }
    if let Err(error) = make(flags, Path::new(SECRETS), Path::new(CREDS)) {
        eprintln!("entrypoint: credentials: {error}");
    }
    let Some(home) = home else { return };
    for name in MADE {
        let (from, to) = (Path::new(CREDS).join(name), home.join(name));
        if let Err(error) = copy(&from, &to) {
            eprintln!("entrypoint: credentials: cannot copy {} to {}: {error}", from.display(), to.display());
        }
    }
}

/// Makes the files below `to`.
pub(crate) fn make(flags: &[(String, String)], secrets: &Path, to: &Path) -> io::Result<()> {
    let of = |flag: &str| -> Vec<(&str, &str)> {
        let values = flags.iter().filter(|(name, _)| name == flag).map(|(_, value)| value.as_str());
        values.map(|value| value.split_once('=').unwrap_or((value, ""))).collect()
    };
    docker(&of("docker-cfg"), &of("docker-config"), &of("basic-docker"), secrets, to)?;
    git(&of("basic-git"), secrets, to)?;
    ssh(&of("ssh-git"), secrets, to)
}

fn read(secrets: &Path, secret: &str, key: &str) -> io::Result<String> {
    let path = secrets.join(secret).join(key);
    fs::read_to_string(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.write_all(content.as_bytes())
}

fn docker(
    cfgs: &[(&str, &str)],
    configs: &[(&str, &str)],
    basic: &[(&str, &str)],
    secrets: &Path,
    to: &Path,
) -> io::Result<()> {
    use base64::Engine;
    let mut auths = BTreeMap::new();
    let mut add = |all: &Value| {
        for (registry, entry) in all.as_object().into_iter().flatten() {
            auths.insert(registry.clone(), entry.clone());
        }
    };
    for (secret, _) in cfgs {
        add(&serde_json::from_str(&read(secrets, secret, ".dockercfg")?)?);
    }
    for (secret, _) in configs {
        let config: Value = serde_json::from_str(&read(secrets, secret, ".dockerconfigjson")?)?;
        add(&config["auths"]);
    }
    for (secret, registry) in basic {
        let (username, password) = (read(secrets, secret, "username")?, read(secrets, secret, "password")?);
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        let entry = json!({"username": username, "password": password, "auth": auth, "email": "not@val.id"});
        auths.insert((*registry).to_owned(), entry);
    }
    if auths.is_empty() {
        return Ok(());
    }
    let folder = to.join(".docker");
    fs::create_dir_all(&folder)?;
    write(&folder.join("config.json"), &json!({"auths": auths}).to_string())
}

fn git(basic: &[(&str, &str)], secrets: &Path, to: &Path) -> io::Result<()> {
    if basic.is_empty() {
        return Ok(());
    }
    let mut config = "[credential]\n\thelper = store\n".to_owned();
    let mut credentials = String::new();
    for (secret, url) in basic {
        let (username, password) = (read(secrets, secret, "username")?, read(secrets, secret, "password")?);
        let (shown, quoted) =
            (username.replace('\\', "\\\\"), url.replace('\\', "\\\\").replace('"', "\\\""));
        config.push_str(&format!("[credential \"{quoted}\"]\n\tusername = {shown}\n"));
        let rest = url.split_once("://").map_or(*url, |(_, rest)| rest);
        // Git tells repositories of one host apart only when it is told to.
        if rest.trim_end_matches('/').contains('/') {
            config.push_str("\tuseHttpPath = true\n");
        }
        let scheme = url.split_once("://").map_or("https", |(scheme, _)| scheme);
        let (username, password) = (escaped(&username), escaped(&password));
        credentials.push_str(&format!("{scheme}://{username}:{password}@{rest}\n"));
    }
    write(&to.join(".gitconfig"), &config)?;
    write(&to.join(".git-credentials"), &credentials)
}

/// A part of a URL.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~$&+,;=".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn ssh(keys: &[(&str, &str)], secrets: &Path, to: &Path) -> io::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let folder = to.join(".ssh");
    fs::create_dir_all(&folder)?;
    let mut hosts: Vec<(&str, Vec<PathBuf>)> = Vec::new();
    let mut known = Vec::new();
    for (secret, host) in keys {
        let key = folder.join(format!("id_{secret}"));
        write(&key, &read(secrets, secret, "ssh-privatekey")?)?;
        if let Ok(text) = read(secrets, secret, "known_hosts") {
            known.push(text);
        }
        match hosts.iter_mut().find(|(there, _)| there == host) {
            Some((_, files)) => files.push(key),
            None => hosts.push((host, vec![key])),
        }
    }
    let (mut config, mut aliases) = (String::new(), String::new());
    for (number, (place, files)) in hosts.iter().enumerate() {
        let (place, path) = place.split_once('/').unwrap_or((place, ""));
        let (host, port) = place.rsplit_once(':').unwrap_or((place, SSH_PORT));
        let mut alias = host.to_owned();
        if !path.is_empty() {
            // A key for one repository: ssh knows hosts only, so git is told another name of the host for it.
            alias = format!("{host}-{number}");
            aliases.push_str(&format!("[url \"git@{alias}:{path}\"]\n"));
            for spelling in [format!("git@{host}:{path}"), format!("ssh://git@{place}/{path}")] {
                aliases.push_str(&format!("\tinsteadOf = {spelling}\n"));
            }
        }
        config.push_str(&format!("Host {alias}\n    HostName {host}\n    Port {port}\n"));
        for file in files {
            config.push_str(&format!("    IdentityFile {}\n", file.display()));
        }
    }
    write(&folder.join("config"), &config)?;
    if !aliases.is_empty() {
        let there = fs::read_to_string(to.join(".gitconfig")).unwrap_or_default();
        write(&to.join(".gitconfig"), &format!("{there}{aliases}"))?;
    }
    if known.is_empty() { Ok(()) } else { write(&folder.join("known_hosts"), &known.join("\n")) }
}

/// Copies a file or folder; what is not there is not copied.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        fs::set_permissions(to, Permissions::from_mode(DIR_MODE))?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if from.is_file() {
        write(to, &fs::read_to_string(from)?)?;
    }
    Ok(())
}

/// The home of this program's user: what the environment says, else what the image's list of users says.
pub fn home() -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods, reason = "this program is configured by its container")]
    let said = std::env::var_os("HOME").filter(|home| !home.is_empty());
    said.map(PathBuf::from).or_else(|| {
        // SAFETY: the call takes nothing, changes nothing and cannot fail.
        let uid = unsafe { libc::getuid() }.to_string();
        let users = fs::read_to_string("/etc/passwd").ok()?;
        let user = users.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()))?;
        user.split(':').nth(5).filter(|home| !home.is_empty()).map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests;
