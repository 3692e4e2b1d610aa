//! The keys of a fleet, made and enrolled with `millrace key` as `docs/signatures.md` tells a user to: one for each role that says
//! something, one for the operator. The sink and the console only read, and have the roster alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use millrace::config;

use super::fleet::{CLUSTER, Fleet};
use crate::real::site::millrace;

/// The keys, and the roster that says what they are good for.
pub(super) struct Keys {
    dir: PathBuf,
}

fn roster(dir: &Path) -> PathBuf {
    dir.join("roster.toml")
}

fn key(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key"))
}

/// What `millrace key` says.
fn run(arguments: &[&str]) -> String {
    let output = millrace().arg("key").args(arguments).output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "millrace key {arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

impl Keys {
    /// Makes and enrols the keys of `names`; from now on every configuration of the fleet has its `[trust]`.
    pub(super) fn give(fleet: &mut Fleet, names: &[&str]) -> Self {
        let keys = Self { dir: fleet.dir.join("keys") };
        std::fs::create_dir(&keys.dir).expect("writable");
        for name in names {
            keys.make(name);
            keys.enrol(name);
        }
        let (dir, without) = (keys.dir.clone(), fleet.access.take());
        fleet.access = Some(Box::new(move |kafka, name| {
            let (servers, mut lines) = without
                .as_ref()
                .map_or_else(|| (kafka.bootstrap().to_owned(), String::new()), |access| access(kafka, name));
            writeln!(lines, "[trust]\nroster = \"{}\"", roster(&dir).display()).expect("memory suffices");
            if key(&dir, name).exists() {
                writeln!(lines, "key-file = \"{}\"", key(&dir, name).display()).expect("memory suffices");
            }
            (servers, lines)
        }));
        keys
    }

    /// Makes a key, which nobody believes before it is enrolled. The one that was there before is kept under another name.
    pub(super) fn make(&self, name: &str) {
        let file = key(&self.dir, name);
        if file.exists() {
            std::fs::rename(&file, key(&self.dir, &format!("{name}-before"))).expect("ours");
        }
        std::fs::write(file.with_extension("public"), run(&["new", &file.display().to_string()])).expect("writable");
    }

    /// Lets a key speak as the role of that name. The key's id.
    pub(super) fn enrol(&self, name: &str) {
        let public = std::fs::read_to_string(key(&self.dir, name).with_extension("public")).expect("it was made");
        let instances = format!("{CLUSTER}/*");
        let user = format!("{name}-{}", rustix::process::getuid().as_raw());
        let speaks = match name.as_bytes()[0] {
            b'a' => ["--role", "agent", "--host", &name["a-".len()..], "--about", &instances].to_vec(),
            b'p' => ["--role", "process", "--name", name].to_vec(),
            b'e' => ["--role", "execute", "--name", name].to_vec(),
            _ => ["--role", "operator", "--name", &user, "--about", &instances].to_vec(),
        };
        let roster = roster(&self.dir).display().to_string();
        run(&[&["enrol", &roster, "--public", &public][..], &speaks].concat());
    }

    /// Refuses what a key says from now on.
    pub(super) fn revoke(&self, name: &str) {
        let signer = millrace::trust::key_file::read(&key(&self.dir, name)).expect("it was made");
        run(&["revoke", &roster(&self.dir).display().to_string(), signer.id().as_str()]);
    }

    /// How who has the key of `name` signs and judges.
    pub(super) fn trust(&self, name: &str) -> config::Trust {
        config::Trust { key_file: Some(key(&self.dir, name)), roster: roster(&self.dir) }
    }
}
