//! The agents of a fleet, one for each of its servers, which all are well until they are told otherwise: signed heartbeats, one
//! a second, each at a moment of its own. What they would see on a host they make up; what they say, they say as agents do.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace::bus::{Receipt, SharedBus};
use millrace::roles::speaker::now;
use millrace_collectors::host::boot_us;
use millrace_schemas::cluster::{ClusterSpec, Member, Process};
use millrace_schemas::event::{Event, Payload, Subject};
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::ids::{ClusterId, Epoch, EventId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::signing::Signer;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{Canary, Fact, Heartbeat, ProcessChanged, Receiver, SemiSync, ServerState};

/// Executed transactions of a cluster that has had three primaries.
const EXECUTED: &str = "0-1-48211973,0-2-77120043,0-3-91822";

/// Who signs and numbers what it says.
pub(crate) struct Voice {
    source: String,
    signer: Signer,
    bus: SharedBus,
    said: Mutex<u64>,
}

impl Voice {
    /// A key of its own, made from `seed`.
    pub(crate) fn new(source: String, seed: u64, bus: SharedBus) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self { source, signer: Signer::from_seed(&bytes), bus, said: Mutex::default() }
    }

    pub(crate) fn say<P: Payload>(&self, subject: Subject, payload: P) -> Receipt {
        // Held over the append, so that records reach the bus in the order of their numbers.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = Sequence { incarnation: 1, counter: *said };
        *said += 1;
        let id = EventId::derive(&[&self.source, P::TOPIC.name(), subject.cluster.as_str(), &said.to_string()]);
        let (source, appended, cause) = (self.source.clone(), Timestamp::ZERO, None);
        let mut record = Event { id, source, sequence, at: now(), appended, subject, cause, payload }.to_record();
        self.signer.sign(&mut record);
        self.bus.append(vec![record])
    }

    /// Its entry of a roster.
    pub(crate) fn entry(&self, text: &mut String, roles: &str, who: &str, about: &str) {
        let public = self.signer.public();
        let _ = write!(
            text,
            "[[key]]\nid = \"{}\"\npublic = \"{public}\"\nroles = [{roles}]\n{who}\nabout = [\"{about}\"]\n",
            public.id()
        );
    }
}

/// One agent and its server.
pub(crate) struct Agent {
    pub(crate) cluster: ClusterId,
    member: Member,
    /// Whom its server follows; none: it is the primary.
    source: Option<String>,
    voice: Voice,
    down: AtomicBool,
}

/// The cluster of this number, declared.
pub(crate) fn spec(number: usize) -> ClusterSpec {
    let mut spec = examples::spec();
    for (at, member) in spec.members.iter_mut().enumerate() {
        member.instance = format!("c{number}-db{at}").parse().expect("legal");
        member.host = format!("c{number}-h{at}").parse().expect("legal");
    }
    spec.primary = spec.members[0].instance.clone();
    spec.acknowledgers = spec.members.iter().map(|member| member.instance.clone()).collect();
    spec
}

/// The agents of `clusters` clusters, three by three; the primary's is the first of each. They share a few connections, since
/// one machine has not room for thousands.
pub(crate) fn fleet(clusters: usize, buses: &[SharedBus]) -> Vec<Agent> {
    let agent = |number: usize, at: usize| {
        let spec = spec(number);
        let (member, source) = (spec.members[at].clone(), (at > 0).then(|| spec.members[0].endpoint()));
        let seed = number * 3 + at;
        let voice = Voice::new(format!("agent/{}", member.host), seed as u64, buses[seed % buses.len()].clone());
        let cluster = ClusterId::parse(format!("c{number}")).expect("legal");
        Agent { cluster, member, source, voice, down: AtomicBool::new(false) }
    };
    (0..clusters).flat_map(|number| (0..3).map(move |at| agent(number, at))).collect()
}

/// Says a heartbeat of each of `agents` each second, evenly spread over it, until `stop`; how many seconds it was ever behind.
pub(crate) fn beat(agents: &[Agent], share: usize, of: usize, stop: &AtomicBool) -> f64 {
    let mine: Vec<&Agent> = agents.iter().skip(share).step_by(of).collect();
    let (began, mut behind) = (Instant::now(), Duration::ZERO);
    for beat in 0_u64.. {
        let due = Duration::from_secs(1).mul_f64(beat as f64 / mine.len() as f64);
        let passed = began.elapsed();
        behind = behind.max(passed.saturating_sub(due));
        std::thread::sleep(due.saturating_sub(passed));
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Not waited for: each agent is a process of its own and waits only for its own answer.
        drop(mine[(beat % mine.len() as u64) as usize].beat());
    }
    behind.as_secs_f64()
}

impl Agent {
    pub(crate) fn enter(&self, roster: &mut String) {
        let Member { host, instance, .. } = &self.member;
        self.voice.entry(
            roster,
            "\"agent\"",
            &format!("hosts = [\"{host}\"]"),
            &format!("{}/{instance}", self.cluster),
        );
    }

    fn subject(&self) -> Subject {
        Subject::instance(self.cluster.clone(), self.member.instance.clone())
    }

    fn process(&self) -> Process {
        if self.down.load(Ordering::Relaxed) {
            return Process::Exited { code: None, signal: Some(9), requested: false, held: true };
        }
        Process::Running { pid: 4_711 }
    }

    /// Its server ends or runs again, which is told at once; resolves when the journal has it.
    pub(crate) fn change(&self, down: bool) -> Receipt {
        self.down.store(down, Ordering::Relaxed);
        let exited_boot_us = down.then(boot_us);
        let (host, process) = (self.member.host.clone(), self.process());
        self.voice.say(
            self.subject(),
            Fact::ProcessChanged(ProcessChanged { host, boot_us: boot_us(), process, exited_boot_us }),
        )
    }

    pub(crate) fn beat(&self) -> Receipt {
        let process = self.process();
        let server = matches!(process, Process::Running { .. }).then(|| self.server());
        let heartbeat = Heartbeat {
            host: self.member.host.clone(),
            boot_us: boot_us(),
            process,
            promised: Epoch(1),
            server_error: server.is_none().then(|| "connection refused".to_owned()),
            canary: match (&server, &self.source) {
                (Some(_), None) => Canary::Written { took_us: 1_312 },
                _ => Canary::Off,
            },
            server,
        };
        self.voice.say(self.subject(), Fact::Heartbeat(Box::new(heartbeat)))
    }

    fn server(&self) -> ServerState {
        let spec = examples::spec();
        let is_primary = self.source.is_none();
        let receiver = self.source.clone().map(|source| Receiver {
            channel: String::new(),
            source,
            receiving: true,
            applying: true,
            error: None,
            delay_us: Some(1_200),
        });
        ServerState {
            flavour: spec.flavour,
            version: "10.11.19-MariaDB-log".to_owned(),
            server_id: 1,
            open: is_primary,
            executed: GtidSet::parse(spec.flavour, EXECUTED).ok(),
            receiver,
            stopped_channel: None,
            semi_sync: SemiSync {
                source_active: is_primary,
                source_enabled: is_primary,
                lossless: is_primary,
                acknowledgers: if is_primary { 2 } else { 0 },
                replica_enabled: !is_primary,
            },
            queries_per_second: Some(4_913.7),
            threads_running: 12,
            connections: 340,
            host_load: Some(1.42),
        }
    }
}

/// What every key of the fleet may do, as a file.
pub(crate) fn write_roster(file: &Path, agents: &[Agent], others: &str) {
    // What was appended before is believed unsigned; nothing is.
    let mut text = format!("since = \"{}\"\n{others}", Timestamp(now().0 - 60_000_000));
    for agent in agents {
        agent.enter(&mut text);
    }
    std::fs::write(file, text).expect("writable");
}
