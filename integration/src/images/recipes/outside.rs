//! Images that stand in for programs which speak to the outside: what they ask is answered by [`crate::outside`].

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::Result;

use super::{accounts, git, system};

const GIT_INIT: &str = include_str!("../scripts/git-init.sh");
const CRANE: &str = include_str!("../scripts/crane.sh");
const EXECUTOR: &str = include_str!("../scripts/executor.sh");
/// All programs of ours.
pub const SCRIPTS: [&str; 3] = [GIT_INIT, CRANE, EXECUTOR];

/// Where Debian's programs look for authorities.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Makes the programs of an image trust `authority_pem`, and know names from its list of hosts first.
pub fn trust(root: &Path, authority_pem: &str) -> Result<()> {
    let place = root.join(AUTHORITIES);
    fs::create_dir_all(place.parent().unwrap_or(root))?;
    fs::write(place, authority_pem)?;
    fs::write(root.join("etc/nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n")?;
    Ok(())
}

/// An image with nothing but a program that ends well.
pub fn nop(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("ko-app"))?;
    fs::rename(root.join("bin/busybox"), root.join("ko-app/busybox"))?;
    // busybox goes by the name it is called by.
    program(root, "ko-app/nop", "#!/ko-app/busybox sh\nexit 0\n")?;
    accounts(root, "", "")
}

/// git-clone: a shell that knows `[[`, and the program that clones.
pub fn git_init(root: &Path) -> Result<()> {
    git(root)?;
    // A workspace belongs to root, whoever clones into it.
    fs::write(root.join("etc/gitconfig"), "[safe]\n\tdirectory = *\n")?;
    fs::remove_file(root.join("bin/sh"))?;
    symlink("bash", root.join("bin/sh"))?;
    program(root, "ko-app/git-init", GIT_INIT)
}

/// crane.
pub fn crane(root: &Path) -> Result<()> {
    system(root)?;
    program(root, "ko-app/crane", CRANE)
}

/// A builder of images.
pub fn executor(root: &Path) -> Result<()> {
    system(root)?;
    program(root, "kaniko/executor", EXECUTOR)
}

fn program(root: &Path, path: &str, text: &str) -> Result<()> {
    let place = root.join(path);
    fs::create_dir_all(place.parent().unwrap_or(root))?;
    fs::write(&place, text)?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
