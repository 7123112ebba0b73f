//! Which images are built, from which packages.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::packages;

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

/// Debian's smallest system with GNU tools.
const SYSTEM: &[&str] = &[
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "libacl1",
    "libattr1",
    "libblkid1",
    "libbz2-1.0",
    "libc-bin",
    "libc6",
    "libcap2",
    "libcrypt1",
    "libgcc-s1",
    "libgmp10",
    "liblz4-1",
    "liblzma5",
    "libmd0",
    "libmount1",
    "libpcre2-8-0",
    "libselinux1",
    "libsmartcols1",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libtinfo6",
    "libudev1",
    "libuuid1",
    "libzstd1",
    "libgcrypt20",
    "libgpg-error0",
    "mawk",
    "perl-base",
    "procps",
    "libproc2-0",
    "sed",
    "tar",
    "util-linux",
    "util-linux-extra",
    "zlib1g",
];

const GIT: &[&str] = &[
    "git",
    "openssh-client",
    "openssh-server",
    "openssh-sftp-server",
    "libcurl3-gnutls",
    "libexpat1",
    "libgssapi-krb5-2",
    "libkrb5-3",
    "libk5crypto3",
    "libcom-err2",
    "libkrb5support0",
    "libkeyutils1",
    "libedit2",
    "libbsd0",
    "libwrap0",
    "libpam0g",
    "libaudit1",
    "libcap-ng0",
    "ucf",
    "runit-helper",
    "libnsl2",
    "libtirpc3",
    "libfido2-1",
    "libcbor0.8",
    "libgnutls30",
    "libidn2-0",
    "libunistring2",
    "libp11-kit0",
    "libtasn1-6",
    "libnettle8",
    "libhogweed6",
    "libffi8",
    "libldap-2.5-0",
    "libsasl2-2",
    "libnghttp2-14",
    "librtmp1",
    "libssh2-1",
    "libpsl5",
    "libbrotli1",
];

const PYTHON: &[&str] = &[
    "python3.11-minimal",
    "libpython3.11-minimal",
    "python3.11",
    "libpython3.11-stdlib",
    "libexpat1",
    "libffi8",
    "libsqlite3-0",
    "libncursesw6",
    "libreadline8",
    "libnsl2",
    "libtirpc3",
    "libdb5.3",
    "media-types",
];

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
    ]
}

/// Names of all repositories that have a stand-in.
pub fn names() -> Vec<&'static str> {
    all().iter().flat_map(|recipe| recipe.names.iter().copied()).collect()
}

/// Changes whenever a recipe does.
pub fn fingerprint() -> String {
    let mut hash = Sha256::new();
    hash.update(include_str!("recipes.rs"));
    hash.update(include_str!("layout.rs"));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

impl Recipe {
    /// Makes the root file system.
    pub fn unpack(&self, root: &Path, debs: &Path) -> Result<()> {
        let mut names: Vec<_> = self.packages.to_vec();
        if self.packages == GIT || self.packages == PYTHON {
            names.extend(SYSTEM);
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
        (self.finish)(root)
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

fn git(root: &Path) -> Result<()> {
    system(root)?;
    fs::create_dir_all(root.join("run/sshd"))?;
    fs::create_dir_all(root.join("var/log"))?;
    fs::create_dir_all(root.join("home/nonroot"))?;
    fs::create_dir_all(root.join("etc/ssh"))?;
    accounts(
        root,
        "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\nnonroot:x:1000:1000::/home/nonroot:/bin/sh\n",
        "nonroot:x:1000:\n",
    )
}
