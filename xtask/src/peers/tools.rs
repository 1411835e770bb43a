//! How one tool is found, installed and linked into the prefix.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::cmd::Cmd;

/// A program or a set of libraries from one of the registries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// A program of a Debian package; with its path if that is not where programs usually are.
    Debian { program: &'static str, package: &'static str },
    /// What a Debian package has beside programs.
    File { file: &'static str, package: &'static str },
    /// Python with what it takes to make an environment.
    PythonVenv,
    /// What extensions of Python in C are compiled with.
    PythonHeaders,
    /// Python packages, their versions pinned in a file.
    Python { requirements: &'static str },
    /// A package of Node.js, and what it needs: names with versions.
    Node { packages: &'static [&'static str] },
    /// A crate with a program of the same name.
    Cargo { name: &'static str, version: &'static str, locked: bool },
}

impl Tool {
    pub(super) const fn debian(program: &'static str, package: &'static str) -> Self {
        Self::Debian { program, package }
    }

    pub(super) const fn file(file: &'static str, package: &'static str) -> Self {
        Self::File { file, package }
    }

    pub(super) fn present(&self, prefix: &Path) -> bool {
        match self {
            Self::Debian { program, .. } => find(program).is_some(),
            Self::File { file, .. } => Path::new(file).exists(),
            Self::PythonVenv => python("import ensurepip, venv"),
            Self::PythonHeaders => {
                python("import os, sysconfig; os.stat(os.path.join(sysconfig.get_path('include'), 'Python.h'))")
            }
            Self::Python { requirements } => {
                let installed = std::fs::read(installed(requirements, prefix));
                installed.is_ok_and(|got| std::fs::read(requirements).is_ok_and(|wanted| got == wanted))
            }
            Self::Node { packages } => packages.iter().all(|package| node_package(package, prefix)),
            Self::Cargo { name, version, .. } => std::fs::read_to_string(prefix.join(".crates.toml"))
                .is_ok_and(|crates| crates.contains(&format!("\"{name} {version} "))),
        }
    }

    /// Leaves a mark of what has been installed, and a link in `bin/` to a program found elsewhere.
    pub(super) fn finish(&self, prefix: &Path) -> Result {
        match self {
            Self::Debian { program, package } => {
                let found = find(program).ok_or_else(|| format!("no `{program}` even with the package {package}"))?;
                let name = found.file_name().unwrap_or(program.as_ref());
                link(&found, &prefix.join("bin").join(name))
            }
            Self::Python { requirements } => {
                std::fs::copy(requirements, installed(requirements, prefix))?;
                Ok(())
            }
            Self::File { file, package } => match Path::new(file).exists() {
                true => Ok(()),
                false => Err(format!("no {file} even with the package {package}").into()),
            },
            Self::PythonVenv | Self::PythonHeaders | Self::Node { .. } | Self::Cargo { .. } => Ok(()),
        }
    }

    fn debian_package(&self) -> Option<&'static str> {
        match self {
            Self::Debian { package, .. } | Self::File { package, .. } => Some(package),
            Self::PythonVenv => Some("python3-venv"),
            Self::PythonHeaders => Some("python3-dev"),
            Self::Python { .. } | Self::Node { .. } | Self::Cargo { .. } => None,
        }
    }

    /// The commands that install it into the prefix, for one that is not Debian's.
    fn commands(&self, prefix: &Path) -> Vec<Cmd> {
        let prefix = prefix.display().to_string();
        match self {
            Self::Debian { .. } | Self::File { .. } | Self::PythonVenv | Self::PythonHeaders => Vec::new(),
            Self::Python { requirements } => vec![
                Cmd::new("python3").words("-m venv").arg(&prefix),
                Cmd::new(format!("{prefix}/bin/pip"))
                    .words("install --quiet --disable-pip-version-check -r")
                    .arg(*requirements)
                    // What packages are built with is pinned, too.
                    .env("PIP_CONSTRAINT", *requirements),
            ],
            Self::Node { packages } => vec![
                Cmd::new("npm")
                    .words("install --no-save --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error")
                    .args(["--prefix", &prefix])
                    .args(packages.iter().copied()),
            ],
            Self::Cargo { name, version, locked } => vec![
                Cmd::cargo("install --quiet")
                    .arg(format!("{name}@{version}"))
                    .args(locked.then_some("--locked"))
                    .args(["--root", &prefix]),
            ],
        }
    }
}

/// The commands that install the tools; Debian's packages all at once, with `sudo` for those who are not root.
pub(super) fn install(tools: &[&Tool], prefix: &Path, root: bool) -> Vec<Cmd> {
    let mut packages: Vec<_> = tools.iter().filter_map(|t| t.debian_package()).collect();
    packages.sort_unstable();
    packages.dedup();
    let shell = if root { Cmd::new("sh") } else { Cmd::new("sudo").arg("sh") };
    let debian = (!packages.is_empty()).then(|| shell.arg("xtask/peers/debian.sh").args(packages));
    debian.into_iter().chain(tools.iter().flat_map(|t| t.commands(prefix))).collect()
}

/// Looks where servers lie, too: the path of an ordinary user leaves those folders out.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn python(script: &str) -> bool {
    Cmd::new("python3").args(["-c", script]).succeeds()
}

/// Whether a package is there in the version that follows its name.
fn node_package(package: &str, prefix: &Path) -> bool {
    let (name, version) = package.split_once('@').unwrap_or((package, ""));
    let about = prefix.join("node_modules").join(name).join("package.json");
    std::fs::read_to_string(about).is_ok_and(|about| about.contains(&format!("\"version\": \"{version}\"")))
}

fn installed(requirements: &str, prefix: &Path) -> PathBuf {
    prefix.join(requirements.rsplit('/').next().unwrap_or(requirements))
}

fn link(to: &Path, at: &Path) -> Result {
    if at.exists() {
        return Ok(());
    }
    if let Some(dir) = at.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let _ = std::fs::remove_file(at); // a link that leads nowhere
    Ok(symlink(to, at)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_packages_are_installed_at_once_and_by_sudo() {
        let (a, b) =
            (Tool::debian("mosquitto_pub", "mosquitto-clients"), Tool::debian("mosquitto_sub", "mosquitto-clients"));
        let commands = install(&[&a, &b, &Tool::PythonVenv], Path::new("/p"), false);
        let lines: Vec<_> = commands.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["sudo sh xtask/peers/debian.sh mosquitto-clients python3-venv"]);
    }

    #[test]
    fn a_pinned_crate_of_another_version_is_missing() {
        let prefix = std::env::temp_dir().join(format!("xtask-tools-{}", std::process::id()));
        std::fs::create_dir_all(&prefix).unwrap();
        std::fs::write(prefix.join(".crates.toml"), "[v1]\n\"cargo-fuzz 0.13.1 (registry)\" = [\"cargo-fuzz\"]\n")
            .unwrap();
        let tool = |version| Tool::Cargo { name: "cargo-fuzz", version, locked: true };
        assert!(tool("0.13.1").present(&prefix) && !tool("0.13.2").present(&prefix));
        std::fs::remove_dir_all(&prefix).unwrap();
    }
}
