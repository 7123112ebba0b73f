//! Which images are built, from which packages.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::packages;

mod lists;
mod outside;

use lists::{GIT, NODE, PYTHON, SYSTEM};

/// One image.
pub struct Recipe {
    /// Repositories it stands in for.
    pub names: &'static [&'static str],
    /// Its `Cmd`.
    pub cmd: &'static [&'static str],
    /// Its `Entrypoint`.
    pub entrypoint: &'static [&'static str],
    /// Packages.
    packages: &'static [&'static str],
    /// Finishing touches.
    finish: fn(&Path) -> Result<()>,
}

/// All images.
pub fn all() -> Vec<Recipe> {
    vec![
        Recipe {
            names: &["docker.io/library/busybox", "cgr.dev/chainguard/busybox"],
            cmd: &["sh"],
            entrypoint: &[],
            packages: &["busybox-static"],
            finish: busybox,
        },
        Recipe {
            names: &["docker.io/library/alpine"],
            cmd: &["/bin/sh"],
            entrypoint: &[],
            packages: &["busybox-static"],
            finish: busybox,
        },
        Recipe {
            names: &["docker.io/library/bash"],
            cmd: &["bash"],
            entrypoint: &["docker-entrypoint.sh"],
            packages: &["busybox-static", "bash-static"],
            finish: bash,
        },
        Recipe {
            names: &["docker.io/library/ubuntu", "docker.io/library/debian", "docker.io/library/perl"],
            cmd: &["/bin/bash"],
            entrypoint: &[],
            packages: SYSTEM,
            finish: system,
        },
        Recipe {
            names: &["docker.io/library/python"],
            cmd: &["python3"],
            entrypoint: &[],
            packages: PYTHON,
            finish: python,
        },
        Recipe {
            names: &["docker.io/alpine/git", "ghcr.io/tektoncd/plumbing/alpine-git-nonroot"],
            cmd: &["--help"],
            entrypoint: &["git"],
            packages: GIT,
            finish: git,
        },
        Recipe {
            names: &["docker.io/library/node"],
            cmd: &["node"],
            entrypoint: &["docker-entrypoint.sh"],
            packages: NODE,
            finish: node,
        },
        Recipe {
            names: &["ghcr.io/tektoncd/pipeline/nop-8eac7c133edad5df719dc37b36b62482"],
            cmd: &[],
            entrypoint: &["/ko-app/nop"],
            packages: &["busybox-static"],
            finish: outside::nop,
        },
        Recipe {
            names: &["ghcr.io/tektoncd-catalog/git-clone"],
            cmd: &[],
            entrypoint: &["/ko-app/git-init"],
            packages: GIT,
            finish: outside::git_init,
        },
        Recipe {
            names: &["gcr.io/go-containerregistry/crane"],
            cmd: &[],
            entrypoint: &["/ko-app/crane"],
            packages: GIT,
            finish: outside::crane,
        },
        Recipe {
            names: &["gcr.io/kaniko-project/executor"],
            cmd: &[],
            entrypoint: &["/kaniko/executor"],
            packages: GIT,
            finish: outside::executor,
        },
    ]
}

/// Names of all repositories that have a stand-in.
pub fn names() -> Vec<&'static str> {
    all().iter().flat_map(|recipe| recipe.names.iter().copied()).collect()
}

/// Changes whenever a recipe does, or the authority that the images trust.
pub fn fingerprint(authority_pem: &str) -> String {
    let mut hash = Sha256::new();
    for part in [
        include_str!("recipes.rs"),
        include_str!("recipes/lists.rs"),
        include_str!("recipes/outside.rs"),
        include_str!("layout.rs"),
        crate::outside::CATALOG[0].1,
        authority_pem,
    ] {
        hash.update(part);
    }
    outside::SCRIPTS.iter().for_each(|script| hash.update(script));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

impl Recipe {
    /// Makes the root file system; its programs trust `authority_pem`.
    pub fn unpack(&self, root: &Path, debs: &Path, authority_pem: &str) -> Result<()> {
        let mut names: Vec<_> = self.packages.to_vec();
        if [GIT, NODE, PYTHON].contains(&self.packages) {
            names.extend(SYSTEM);
        }
        if self.packages == GIT {
            names.extend(lists::CURL);
            names.push("busybox-static");
        }
        packages::unpack(&packages::fetch(&names, debs)?, root)?;
        for dir in ["tmp", "var/tmp", "root", "etc", "proc", "sys", "dev", "run", "home"] {
            fs::create_dir_all(root.join(dir))?;
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        fs::set_permissions(root.join("var/tmp"), fs::Permissions::from_mode(0o1777))?;
        for waste in
            ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"]
        {
            let _ = fs::remove_dir_all(root.join(waste));
        }
        (self.finish)(root)?;
        outside::trust(root, authority_pem)
    }
}

fn accounts(root: &Path, extra_passwd: &str, extra_group: &str) -> Result<()> {
    let passwd = format!(
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\n{extra_passwd}nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    let group = format!("root:x:0:\ndaemon:x:1:\nbin:x:2:\n{extra_group}nogroup:x:65534:\n");
    fs::write(root.join("etc/passwd"), passwd)?;
    fs::write(root.join("etc/group"), group)?;
    Ok(())
}

fn busybox(root: &Path) -> Result<()> {
    let binary = root.join("bin/busybox");
    let output = Command::new(&binary).arg("--list-full").output()?;
    for applet in String::from_utf8_lossy(&output.stdout).lines() {
        let place = root.join(applet);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        if !place.exists() {
            symlink("/bin/busybox", place)?;
        }
    }
    // Debian's list leaves these out of some builds; every busybox image has them.
    for applet in ["bin/sh", "bin/ash", "usr/bin/env"] {
        let place = root.join(applet);
        fs::create_dir_all(place.parent().unwrap_or(root))?;
        if fs::symlink_metadata(&place).is_err() {
            symlink("/bin/busybox", place)?;
        }
    }
    accounts(root, "", "")
}

fn bash(root: &Path) -> Result<()> {
    busybox(root)?;
    let place = root.join("usr/local/bin");
    fs::create_dir_all(&place)?;
    symlink("/bin/bash-static", place.join("bash"))?;
    symlink("/bin/bash-static", root.join("bin/bash"))?;
    let script = place.join("docker-entrypoint.sh");
    fs::write(
        &script,
        "#!/bin/bash\nif [ \"${1#-}\" != \"$1\" ]; then set -- bash \"$@\"; fi\nexec \"$@\"\n",
    )?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn system(root: &Path) -> Result<()> {
    for (target, link) in [("mawk", "usr/bin/awk"), ("dash", "bin/sh"), ("perl", "usr/local/bin/perl")] {
        let place = root.join(link);
        fs::create_dir_all(place.parent().unwrap_or(root))?;
        if fs::symlink_metadata(&place).is_err() {
            let target = if target == "perl" { "/usr/bin/perl" } else { target };
            symlink(target, place)?;
        }
    }
    accounts(root, "", "")
}

fn python(root: &Path) -> Result<()> {
    system(root)?;
    let place = root.join("usr/local/bin");
    for name in ["python", "python3"] {
        symlink("/usr/bin/python3.11", place.join(name))?;
    }
    symlink("python3.11", root.join("usr/bin/python3"))?;
    Ok(())
}

fn node(root: &Path) -> Result<()> {
    system(root)?;
    let script = root.join("usr/local/bin/docker-entrypoint.sh");
    fs::write(&script, "#!/bin/sh\nexec \"$@\"\n")?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn git(root: &Path) -> Result<()> {
    system(root)?;
    fs::create_dir_all(root.join("run/sshd"))?;
    fs::create_dir_all(root.join("var/log"))?;
    fs::create_dir_all(root.join("home/nonroot"))?;
    std::os::unix::fs::chown(root.join("home/nonroot"), Some(1000), Some(1000))?;
    fs::create_dir_all(root.join("etc/ssh"))?;
    // What the packages' own scripts would have made.
    fs::write(root.join("etc/ssh/sshd_config"), "Subsystem sftp internal-sftp\n")?;
    fs::write(root.join("etc/shadow"), "root:!:19000:0:99999:7:::\n")?;
    symlink("/bin/busybox", root.join("bin/ash"))?;
    accounts(
        root,
        "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\nnonroot:x:1000:1000::/home/nonroot:/bin/sh\n",
        "nonroot:x:1000:\n",
    )
}
