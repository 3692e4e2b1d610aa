//! What Millrace needs of the machine: a clock, memory, permission to capture, folders it may write to, a bus file that is
//! whole and free, a port for the console, templates. In: paths and names of the configuration. Out: findings.
//! It creates no folder and no file: a bus file that would get files of the wrong owner beside it is not opened.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_collectors::host;
use millrace_collectors::wire::{CaptureError, can_capture};
use millrace_executors::hands::files::Template;
use millrace_schemas::metrics::Registry;
use rustix::fs::{Access, access, statvfs};

use super::Finding;
use crate::bus;
use crate::bus::http::HttpBus;
use crate::bus::kafka::KafkaBus;
use crate::bus::local::LocalBus;
use crate::config::Bus;

/// 1 GiB: below it one large transaction or log of a neighbour fills the disk within minutes.
const SPACE_SCARCE: u64 = 1 << 30;
/// 64 MiB: below it the next checkpoint of the bus file may not fit.
const SPACE_GONE: u64 = 64 << 20;
/// 512 MiB: an agent may take 128 MiB, and the server beside it needs the rest.
const MEMORY_SCARCE: u64 = 512 << 20;

pub(super) fn clock_and_memory() -> Vec<Finding> {
    vec![clock(host::boot_us()), memory(host::memory_bytes())]
}

fn clock(boot_us: u64) -> Finding {
    if boot_us > 0 {
        return Finding::ok("clock", format!("CLOCK_BOOTTIME can be read, {} s since the start", boot_us / 1_000_000));
    }
    Finding::problem(
        "clock",
        "CLOCK_BOOTTIME cannot be read",
        "lateness is not known, so no promise and no silence can be judged",
        "run on a Linux kernel from 2.6.39 on, outside of a sandbox that hides the clock",
    )
}

fn memory(bytes: u64) -> Finding {
    let mib = bytes >> 20;
    match bytes {
        0 => Finding::note(
            "memory",
            "/proc/meminfo cannot be read",
            "the host's load and memory are shown as unknown",
            "mount /proc where millrace runs",
        ),
        scarce if scarce < MEMORY_SCARCE => Finding::note(
            "memory",
            format!("{mib} MiB in all"),
            "an agent takes up to 128 MiB of them, which the server beside it lacks",
            "give the machine 512 MiB or more, or leave out `capture`",
        ),
        _ => Finding::ok("memory", format!("{mib} MiB")),
    }
}

/// Whether packets can be captured.
pub(super) fn capture(interface: &str) -> Finding {
    captured(interface, can_capture(interface))
}

fn captured(interface: &str, outcome: Result<(), CaptureError>) -> Finding {
    let check = format!("capture on {interface}");
    let costs = "no statement is seen on the wire: no rates, no response times, no digests but those of slow logs";
    match outcome {
        Ok(()) => Finding::ok(check, "packets can be captured"),
        Err(CaptureError::Permission { executable, .. }) => Finding::problem(
            check,
            "no permission to capture packets",
            costs,
            format!("run `setcap cap_net_raw+ep {executable}` as root (again after each update), or start as root"),
        ),
        Err(error @ (CaptureError::Interface { .. } | CaptureError::File { .. })) => {
            Finding::problem(check, error.to_string(), costs, "name an interface that `ip link` lists, or \"any\"")
        }
        Err(error @ CaptureError::LinkType(_)) => {
            Finding::problem(check, error.to_string(), costs, "name an Ethernet interface, lo, or \"any\"")
        }
    }
}

/// Whether a folder can be written to, or made where it is to be.
pub(super) fn folder(check: &str, path: &Path) -> Finding {
    let Some(there) = existing(path) else {
        return unwritable(check, path, "nothing of the path is there");
    };
    if !there.is_dir() {
        return unwritable(check, path, &format!("{} is no folder", there.display()));
    }
    if let Err(error) = access(&there, Access::WRITE_OK | Access::EXEC_OK) {
        return unwritable(check, path, &format!("{} is not writable for this user: {error}", there.display()));
    }
    let free = statvfs(&there).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    let made = if there == path { String::new() } else { ", will be made".to_owned() };
    space(check, path, free.ok(), &made)
}

/// The nearest part of the path that is there.
fn existing(path: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(path).ok()?;
    whole.ancestors().find(|part| part.exists()).map(Path::to_owned)
}

fn unwritable(check: &str, path: &Path, why: &str) -> Finding {
    let path = path.display();
    Finding::problem(
        check,
        format!("{path}: {why}"),
        "millrace does not start, or cannot keep what it promised",
        format!(
            "as root: mkdir -p {path} && chown USER {path}, USER being who runs millrace; then run doctor as that user"
        ),
    )
}

fn space(check: &str, path: &Path, free: Option<u64>, made: &str) -> Finding {
    let path = path.display();
    let costs = "on a full disk records are dropped (and counted), and nothing new can be decided";
    let remedy = format!("free some space where {path} lies, or name a folder on another disk");
    match free {
        None => Finding::problem(check, format!("{path}: its free space is not known"), costs, remedy),
        Some(free) if free < SPACE_GONE => {
            Finding::problem(check, format!("{path}: {} MiB are free", free >> 20), costs, remedy)
        }
        Some(free) if free < SPACE_SCARCE => {
            Finding::note(check, format!("{path}: {} MiB are free", free >> 20), costs, remedy)
        }
        Some(free) => Finding::ok(check, format!("{path}: writable{made}, {} GiB free", free >> 30)),
    }
}

/// The bus and the ports: where millrace runs already, file and ports are taken, and rightly.
pub(super) fn bus_and_console(bus: &Bus, console: Option<SocketAddr>) -> Vec<Finding> {
    let (mut findings, runs, listen) = match bus {
        Bus::File { file, listen, .. } => {
            let parent = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let opened = file.exists().then(|| open(file));
            let runs = matches!(opened, Some(Err(Unopened::Bus(bus::Error::OpenElsewhere { .. }))));
            (vec![folder("bus folder", parent), bus_file(file, opened)], runs, *listen)
        }
        Bus::Remote { address, token_file, state } => {
            let asked = HttpBus::new(*address, token_file).and_then(|bus| bus.ping());
            (vec![folder("state folder", state), remote(*address, asked)], false, None)
        }
        Bus::Kafka(kafka) => {
            let asked = KafkaBus::new(kafka, "doctor", Arc::default()).and_then(|bus| bus.ping());
            (vec![folder("state folder", &kafka.state), brokers(&kafka.servers, asked)], false, None)
        }
    };
    findings.extend(listen.map(|address| free("bus address", address, TcpListener::bind(address).err(), runs)));
    findings.extend(console.map(|address| free("console", address, TcpListener::bind(address).err(), runs)));
    findings
}

/// Kafka.
fn brokers(servers: &str, asked: Result<(), bus::Error>) -> Finding {
    let costs = "nothing of this process reaches anybody, and nothing is done here";
    match asked {
        Ok(()) => Finding::ok("bus", format!("{servers}: it answers, and the topics are as they must be")),
        Err(error @ bus::Error::Unavailable(_)) => {
            Finding::problem("bus", error.to_string(), costs, "start the brokers, or correct bus.servers")
        }
        Err(error) => Finding::problem("bus", error.to_string(), costs, "do what the message names, and try again"),
    }
}

/// The bus of another process.
fn remote(address: SocketAddr, asked: Result<(), bus::Error>) -> Finding {
    let costs = "nothing of this process reaches anybody, and nothing is done here";
    match asked {
        Ok(()) => Finding::ok("bus", format!("the process at {address} has it and answers")),
        Err(error @ bus::Error::Unavailable(_)) => {
            Finding::problem("bus", error.to_string(), costs, "start `millrace up` there, or correct bus.url")
        }
        Err(error) => Finding::problem("bus", error.to_string(), costs, "do what the message names, and try again"),
    }
}

/// Why a bus file was not looked into.
#[derive(Debug)]
enum Unopened {
    Bus(bus::Error),
    /// It belongs to another user, who would find files of ours beside it.
    Foreign,
}

fn open(file: &Path) -> Result<(), Unopened> {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata(file).map(|meta| meta.uid()).ok();
    if owner != Some(rustix::process::geteuid().as_raw()) {
        return Err(Unopened::Foreign);
    }
    LocalBus::open(file, Arc::new(Registry::new())).map(drop).map_err(Unopened::Bus)
}

fn bus_file(file: &Path, opened: Option<Result<(), Unopened>>) -> Finding {
    let path = file.display();
    let costs = "millrace does not start";
    match opened {
        None => Finding::ok("bus file", format!("{path} is not there yet, and will be made")),
        Some(Ok(())) => Finding::ok("bus file", format!("{path} is whole and free")),
        Some(Err(Unopened::Foreign)) => Finding::note(
            "bus file",
            format!("{path} belongs to another user, so it was not opened"),
            "whether it is whole is not known",
            "run doctor as the user who runs millrace",
        ),
        Some(Err(Unopened::Bus(error))) => {
            let said = error.to_string();
            match error {
                bus::Error::OpenElsewhere { .. } => {
                    Finding::ok("bus file", format!("{said} (that is right if it is the running millrace)"))
                }
                bus::Error::Newer { .. } => {
                    Finding::problem("bus file", said, costs, "install the version that wrote it, or name another file")
                }
                bus::Error::Damaged { .. } => Finding::problem(
                    "bus file",
                    said,
                    costs,
                    format!("move {path} away with its -wal and -shm files; the archive keeps the journal"),
                ),
                _ => Finding::problem("bus file", said, costs, "do what the message names, and try again"),
            }
        }
    }
}

fn free(check: &str, address: SocketAddr, refused: Option<std::io::Error>, runs: bool) -> Finding {
    match refused {
        None => Finding::ok(check, format!("{address} is free")),
        Some(_) if runs => Finding::ok(check, format!("{address} is taken, and millrace runs")),
        Some(error) => Finding::problem(
            check,
            format!("{address}: {error}"),
            "millrace does not start",
            format!("find who listens with `ss -ltnp sport = :{}`, or configure another port", address.port()),
        ),
    }
}

/// Each folder with a `template.toml`, and whether what it names is there.
pub(super) fn templates(folder: &Path) -> Vec<Finding> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return vec![no_template(folder, &format!("{} cannot be read: {error}", folder.display()))],
    };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    if folders.is_empty() {
        return vec![no_template(folder, &format!("{} holds no template", folder.display()))];
    }
    folders.iter().map(|folder| template(folder)).collect()
}

fn template(folder: &Path) -> Finding {
    let template = match Template::read(folder) {
        Ok(template) => template,
        Err(error) => return no_template(folder, &error.to_string()),
    };
    let accounts = &template.accounts;
    let passwords = [&accounts.agent, &accounts.pulse, &accounts.replication, &accounts.application];
    let needed = [&template.data, &template.server, &template.basedir, &template.plugin_dir];
    // Relative paths are relative to the template's folder; joining leaves absolute ones as they are.
    let missing: Vec<String> = needed
        .into_iter()
        .chain(passwords.map(|account| &account.password_file))
        .map(|path| folder.join(path))
        .filter(|path| !path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if missing.is_empty() {
        let said = format!("{}: {} {}", folder.display(), template.flavour, template.version);
        return Finding::ok("template", said);
    }
    no_template(folder, &format!("{}: {} not there", folder.display(), missing.join(", ")))
}

fn no_template(folder: &Path, why: &str) -> Finding {
    Finding::problem(
        "template",
        why,
        "no instance can be created from it",
        format!("make one with `scripts/servers.sh template`, and name its folder below {}", folder.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn check(finding: &Finding, level: Level, part: &str) {
        let text = format!("{finding:?}");
        assert!(finding.level == level && text.contains(part), "{text}");
    }

    #[test]
    fn a_missing_permission_names_the_line_that_grants_it() {
        let denied = CaptureError::Permission { interface: "lo".into(), executable: "/usr/bin/millrace".into() };
        check(&captured("lo", Err(denied)), Level::Problem, "`setcap cap_net_raw+ep /usr/bin/millrace`");
        let gone = CaptureError::Interface { interface: "x0".into(), reason: "no such device".into() };
        check(&captured("x0", Err(gone)), Level::Problem, "no such device");
        check(&captured("lo", Ok(())), Level::Ok, "can be captured");
        check(&capture("nosuch0"), Level::Problem, "nosuch0");
    }

    #[test]
    fn what_cannot_be_read_of_the_machine_is_not_fine() {
        check(&clock(0), Level::Problem, "CLOCK_BOOTTIME");
        check(&clock(5_000_000), Level::Ok, "5 s");
        check(&memory(0), Level::Note, "unknown");
        check(&memory(256 << 20), Level::Note, "256 MiB");
        check(&memory(4 << 30), Level::Ok, "4096 MiB");
    }

    #[test]
    fn space_is_plenty_scarce_or_gone() {
        let path = Path::new("/v");
        check(&space("bus", path, Some(5 << 30), ""), Level::Ok, "5 GiB");
        check(&space("bus", path, Some(500 << 20), ""), Level::Note, "500 MiB");
        check(&space("bus", path, Some(5 << 20), ""), Level::Problem, "5 MiB");
        check(&space("bus", path, None, ""), Level::Problem, "not known");
    }

    #[test]
    fn a_folder_is_looked_at_and_never_made() {
        let home = tempfile::tempdir().unwrap();
        let new = home.path().join("a/b");
        check(&folder("state", &new), Level::Ok, "will be made");
        assert!(!home.path().join("a").exists());
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        check(&folder("state", &file.join("b")), Level::Problem, "is no folder");
    }

    #[test]
    fn a_bus_file_is_new_free_taken_or_broken() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("bus.db");
        let look = |level, part: &str| {
            let bus = Bus::File { file: file.clone(), listen: None, token_file: file.with_extension("token") };
            check(&bus_and_console(&bus, None)[1], level, part);
        };
        look(Level::Ok, "not there yet");
        assert!(!file.exists());
        let bus = LocalBus::open(&file, Arc::new(Registry::new())).unwrap();
        look(Level::Ok, "open in another process");
        drop(bus);
        look(Level::Ok, "whole and free");
        std::fs::write(&file, "this is no bus file, and long enough to be read as a header of one".repeat(20)).unwrap();
        look(Level::Problem, "damaged");
        check(&bus_file(&file, Some(Err(Unopened::Foreign))), Level::Note, "another user");
    }

    #[test]
    fn a_port_that_somebody_else_has_is_a_problem() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let refused = || TcpListener::bind(address).err();
        check(&free("console", address, refused(), false), Level::Problem, "sport = :");
        check(&free("console", address, refused(), true), Level::Ok, "millrace runs");
        check(&free("console", address, None, false), Level::Ok, "is free");
    }

    #[test]
    fn a_template_that_cannot_be_used_is_a_problem() {
        let home = tempfile::tempdir().unwrap();
        check(&templates(home.path())[0], Level::Problem, "holds no template");
        check(&templates(&home.path().join("away"))[0], Level::Problem, "cannot be read");
        std::fs::create_dir(home.path().join("t")).unwrap();
        check(&templates(home.path())[0], Level::Problem, "template.toml");
    }
}
