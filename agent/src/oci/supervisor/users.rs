//! Which user and groups a container gets: numbers from the Pod, names from the image's own passwd and group.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::inside;
use crate::oci::wire::User;

/// The largest id that is not read as "keep" or as negative anywhere.
const ID_MAX: i64 = i32::MAX as i64;
/// Longest passwd or group file that is read.
const FILE_MAX: u64 = 4 << 20;

/// Numbers for the kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home folder of the user, `/` when it has none.
    pub home: String,
}

/// Resolves `user` in the image unpacked at `root`.
///
/// # Errors
/// A text for the user: unknown name, id out of range, root where it is forbidden.
pub fn resolve(root: &OwnedFd, user: &User) -> Result<Ids, String> {
    let passwd = read(root, "etc/passwd").map_err(|e| format!("cannot read the image's passwd: {e}"))?;
    let group = read(root, "etc/group").map_err(|e| format!("cannot read the image's group: {e}"))?;
    of_files(&passwd, &group, user)
}

/// As [`resolve`], with the content of the two files.
///
/// # Errors
/// See there.
pub fn of_files(passwd: &str, group: &str, user: &User) -> Result<Ids, String> {
    let (image_user, image_group) = match user.image.as_deref().unwrap_or("").split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user.image.as_deref().unwrap_or(""), None),
    };
    let wanted = match user.uid {
        Some(uid) => uid.to_string(),
        None if image_user.is_empty() => "0".to_owned(),
        None => image_user.to_owned(),
    };
    let entry = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6 && (fields[2] == wanted || (user.uid.is_none() && fields[0] == wanted))
    });
    let uid = match (&entry, wanted.parse::<i64>()) {
        (_, Ok(number)) => number,
        (Some(fields), _) => {
            fields[2].parse().map_err(|_| format!("the image's user {wanted} has no number"))?
        }
        (None, _) => return Err(format!("unable to find user {wanted}: no matching entries in passwd file")),
    };
    if user.non_root && uid == 0 {
        return Err("container has runAsNonRoot and image will run as root".into());
    }
    let gid = match (user.gid, image_group, &entry) {
        (Some(gid), _, _) => gid,
        // The image's group belongs to the image's user.
        (None, Some(name), _) if user.uid.is_none() => group_id(group, name)?,
        (None, _, Some(fields)) => fields[3].parse().unwrap_or(0),
        (None, _, None) => 0,
    };
    let name = entry.as_ref().map(|fields| fields[0]);
    let mut groups = Vec::new();
    for id in user.groups.iter().copied().chain(name.iter().flat_map(|name| memberships(group, name))) {
        let id = in_range("group", id)?;
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    Ok(Ids {
        uid: in_range("user", uid)?,
        gid: in_range("group", gid)?,
        groups,
        home: entry
            .map(|fields| fields[5].to_owned())
            .filter(|h| !h.is_empty())
            .unwrap_or_else(|| "/".into()),
    })
}

fn in_range(what: &str, id: i64) -> Result<u32, String> {
    match u32::try_from(id) {
        Ok(number) if id <= ID_MAX => Ok(number),
        _ => Err(format!("{what} id {id} is not between 0 and {ID_MAX}")),
    }
}

fn group_id(group: &str, name: &str) -> Result<i64, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found =
        group.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f.len() >= 3 && f[0] == name);
    found
        .and_then(|fields| fields[2].parse().ok())
        .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))
}

fn memberships<'a>(group: &'a str, name: &'a str) -> impl Iterator<Item = i64> + 'a {
    let entries = group.lines().map(|l| l.split(':').collect::<Vec<_>>());
    entries
        .filter(move |f| f.len() >= 4 && f[3].split(',').any(|m| m == name))
        .filter_map(|f| f[2].parse().ok())
}

fn read(root: &OwnedFd, path: &str) -> io::Result<String> {
    use std::io::Read;
    let file = match inside::open_file(root.as_fd(), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => std::fs::File::from(opened?),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
