//! The demo's site: a folder of its own, three logical hosts with an agent each, every role in this process. What it starts it
//! ends: guards close and stop their servers, and the folder goes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use millrace_collectors::wire::Live;
use millrace_executors::guard::{GuardClient, Request};
use millrace_executors::hands::files::Instance;
use millrace_mysql::{Session, Target};
use millrace_schemas::cluster::{ClusterSpec, Member, Mode};
use millrace_schemas::event::Subject;
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::{ClusterId, Epoch, EventId, HostId, InstanceId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::{Command, Fact};
use millrace_schemas::topics::routes::Route;
use mysql_async::prelude::Queryable as _;

use super::Wish;
use super::fleet::{self, Fleet};
use super::keys;
use super::listeners::Listeners;
use super::load::{Login, TABLES, connect};
use super::store::Store;
use crate::config::{self, Agent, Bus, Settings};
use crate::roles::speaker::{Speaker, now};
use crate::roles::up::{Roles, Up};

/// Hosts of the demo.
const HOSTS: u16 = 3;
/// Where the servers' ports are looked for.
const FIRST_PORT: u16 = 12_000;
const LAST_PORT: u16 = 20_900;
/// What clients come in by.
pub(super) const INTERFACE: &str = "lo";
/// An epoch above all others: the end of the demo is the last word.
const LAST: Epoch = Epoch(u64::MAX);
/// 15 s for guards to close and stop their servers; MySQL takes 3.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// The site.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) dir: PathBuf,
    pub(super) up: Up,
    /// The roles that run apart, over Kafka.
    pub(super) fleet: Option<Fleet>,
    /// Where the numbers go, when it is wanted.
    pub(super) store: Option<Store>,
    /// Who is told of alerts, when it is wanted.
    pub(super) listeners: Option<Listeners>,
    pub(super) cluster: ClusterId,
    pub(super) spec: ClusterSpec,
}

/// When a server was killed, by both clocks.
pub(super) struct Killed {
    pub(super) at: Instant,
    pub(super) wall: Timestamp,
}

impl Site {
    pub(super) fn start(wish: &Wish) -> anyhow::Result<Self> {
        let template = wish.template.canonicalize().with_context(|| {
            format!("there is no template at {}: run `make servers` first", wish.template.display())
        })?;
        let dir = std::env::temp_dir().join(format!("millrace-demo-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Self::start_in(&dir, wish, &template).inspect_err(|_| {
            // Nothing was started: nothing is left.
            let _ = std::fs::remove_dir_all(&dir);
        })
    }

    fn start_in(dir: &Path, wish: &Wish, template: &Path) -> anyhow::Result<Self> {
        let (Some(templates), Some(name)) = (template.parent(), template.file_name().and_then(|name| name.to_str()))
        else {
            bail!("{} is no template folder", template.display());
        };
        let hosts: Vec<HostId> =
            (1..=HOSTS).map(|number| HostId::parse(format!("h{number}"))).collect::<Result<_, _>>()?;
        let spec = cluster_of(wish.flavour, name, &hosts)?;
        // Minted once, from what no other cluster has: this moment of this process.
        let minted = EventId::derive(&["cluster", &std::process::id().to_string(), &now().to_string()]).to_string();
        let cluster = ClusterId::parse(format!("c-{}", &minted[..8]))?;
        let store = wish.store.as_ref().map(|script| Store::start(script, dir)).transpose()?;
        let mut listeners = wish.listeners.as_ref().map(|wanted| Listeners::start(wanted, dir)).transpose()?;
        let section = store.as_ref().map_or_else(String::new, Store::section)
            + &listeners.as_ref().map_or_else(String::new, Listeners::section);
        let (settings, roles, fleet) = if let Some(servers) = &wish.kafka {
            let kafka = fleet::kafka(servers, dir);
            let fleet = Fleet::start(&kafka, dir, &cluster, &hosts, templates, &section)?;
            if let (Some(listeners), Some(wanted)) = (&mut listeners, &wish.listeners) {
                listeners.consume(wanted, &kafka)?;
            }
            let trust = Some(keys::trust(dir, fleet::OPERATOR));
            let settings = Settings { trust, ..settings(wish, Bus::Kafka(kafka), Vec::new()) };
            (settings, Roles { console: true, ..Roles::NONE }, Some(fleet))
        } else {
            let agents = hosts.iter().map(|host| agent(dir, host, templates)).collect();
            let bus = Bus::File {
                file: dir.join("bus.db"),
                // Any port: whoever asks reads it from the configuration that is left beside the bus.
                listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
                token_file: dir.join("bus.token"),
            };
            let archive = Some(dir.join("archive"));
            let (stores, channels) = told(&section)?;
            (Settings { archive, stores, channels, ..settings(wish, bus, agents) }, Roles::ALL, None)
        };
        let up = Up::start(&settings, roles)?;
        Ok(Self { dir: dir.to_owned(), up, fleet, store, listeners, cluster, spec })
    }

    /// The operator's word that makes the cluster; Millrace's runbook does the rest.
    pub(super) fn create_cluster(&self) -> anyhow::Result<()> {
        let speaker = Speaker::new("operator/demo".to_owned(), &self.dir, self.up.bus.clone())?;
        let command = Command::CreateCluster(Box::new(self.spec.clone()));
        drop(speaker.say(Subject::cluster(self.cluster.clone()), None, Fact::Command(command)));
        Ok(())
    }

    /// What can be asked while it is left running.
    pub(super) fn where_to_look(&self, wish: &Wish) -> anyhow::Result<String> {
        let config = self.dir.join("millrace.toml");
        if let Some(servers) = &wish.kafka {
            fleet::config(fleet::OPERATOR, &fleet::kafka(servers, &self.dir), &self.dir, "")?;
        } else {
            let listen = self.up.bus_address.context("the bus is not served")?;
            std::fs::write(
                &config,
                format!("[bus]\nfile = \"{}/bus.db\"\nlisten = \"{listen}\"\n", self.dir.display()),
            )?;
        }
        let program = crate::program::path()?;
        let here = std::env::current_dir().unwrap_or_default();
        let program = program.strip_prefix(here).unwrap_or(&program).display();
        let (cluster, console) = (&self.cluster, wish.console);
        let store = self.store.as_ref().map(|store| format!("  the store; {}\n", store.page()));
        let listeners = self.listeners.as_ref().map(|one| format!("  the Alertmanager: {}\n", one.page()));
        let store: String = store.into_iter().chain(listeners).collect();
        Ok(format!(
            "\neverything is left running in {}\n  the console: http://{console}\n{store}  {program} why {cluster} --console http://{console}\n  \
             {program} events journal --console http://{console}\n  {program} cluster list --config {}\npress Ctrl-C to stop and remove it",
            self.dir.display(),
            config.display()
        ))
    }

    /// The instance on disk.
    pub(super) fn instance(&self, member: &Member) -> anyhow::Result<Instance> {
        let dir = self.dir.join(member.host.as_str()).join(member.instance.as_str());
        Instance::read(&dir)?.with_context(|| format!("there is no instance in {}", dir.display()))
    }

    /// How the agent's account reaches a member.
    pub(super) fn target(&self, member: &Member) -> anyhow::Result<Target> {
        Ok(self.instance(member)?.target())
    }

    /// The application's login.
    pub(super) fn login(&self, route: &Route) -> anyhow::Result<Login> {
        let member = route.primary.as_ref().context("the route has no primary")?;
        let instance = self.instance(member)?;
        let account = &instance.accounts.application;
        let password = std::fs::read_to_string(instance.dir.join(&account.password_file))?.trim_end().to_owned();
        let schema = account.schema.clone().unwrap_or_else(|| "shop".to_owned());
        Ok(Login { user: account.user.clone(), password, schema })
    }

    pub(super) async fn make_tables(&self, route: &Route, login: &Login) -> anyhow::Result<()> {
        let primary = route.primary.as_ref().context("the route has no primary")?;
        let mut conn = connect(&primary.address, primary.port, login).await?;
        for statement in TABLES {
            conn.query_drop(statement).await?;
        }
        for key in 0..100 {
            let price = key * 7 % 101;
            conn.query_drop(format!("INSERT INTO articles VALUES({key}, 'article {key}', {price})")).await?;
        }
        conn.disconnect().await?;
        Ok(())
    }

    /// Kills the primary's process, as the kernel would when memory is short.
    pub(super) fn kill(&self, route: &Route) -> anyhow::Result<Killed> {
        let member = route.primary.as_ref().context("the route has no primary")?;
        let instance = self.instance(member)?;
        let state = std::fs::read(instance.dir.join(millrace_executors::guard::STATE))?;
        let state: millrace_executors::guard::State = serde_json::from_slice(&state)?;
        let process = state.server.process().context("the primary's server does not run")?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(process.pid)?).context("no pid")?;
        let killed = Killed { at: Instant::now(), wall: now() };
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        Ok(killed)
    }

    /// What those heard who are told of alerts.
    pub(super) async fn heard(&mut self) -> Vec<(bool, String)> {
        match &mut self.listeners {
            Some(listeners) => listeners.check().await,
            None => Vec::new(),
        }
    }

    /// A session as the agent's account.
    pub(super) async fn session(&self, member: &Member) -> anyhow::Result<Session> {
        Ok(Session::open(&self.target(member)?).await?)
    }

    /// Ends every server and guard, and removes the folder.
    pub(super) async fn remove(self) -> anyhow::Result<()> {
        let members = self.spec.members.clone();
        let instances: Vec<Instance> = members.iter().filter_map(|member| self.instance(member).ok()).collect();
        let dir = self.dir.clone();
        self.up.stop().await;
        if let Some(mut fleet) = self.fleet {
            fleet.stop();
        }
        drop(self.store);
        drop(self.listeners);
        let stops = instances.iter().map(|instance| end(instance.clone()));
        let mut tasks: Vec<_> = stops.map(tokio::spawn).collect();
        for task in &mut tasks {
            task.await?;
        }
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
    }
}

/// What this process is told, besides the bus and its agents.
fn settings(wish: &Wish, bus: Bus, agents: Vec<Agent>) -> Settings {
    Settings { console: Some(wish.console), agents, ..Settings::new("demo", bus) }
}

/// An agent of a logical host.
/// The stores and channels of sections of a configuration.
fn told(sections: &str) -> anyhow::Result<(Vec<config::Store>, Vec<config::Channel>)> {
    let read = config::parse(&format!("[bus]\nfile = \"bus.db\"\n{sections}"));
    let read =
        read.map_err(|problems| anyhow::anyhow!("the demo's own configuration is wrong: {problems:?}\n{sections}"))?;
    Ok((read.stores, read.channels))
}

fn agent(dir: &Path, host: &HostId, templates: &Path) -> Agent {
    Agent {
        host: host.clone(),
        state: dir.join(format!("{host}-agent")),
        instances: Some(dir.join(host.as_str())),
        templates: Some(templates.to_owned()),
        capture: Some(Live { interface: INTERFACE.to_owned(), threads: 1 }),
        keep_slow_logs: None,
        servers: Vec::new(),
        backups: Vec::new(),
    }
}

/// Ends a server through its guard, then the guard. For demo and tests: nothing of their data is wanted any more.
pub async fn end(instance: Instance) {
    let guard = GuardClient::connect(&instance.dir);
    let Ok(Ok(state)) = tokio::time::timeout(STOP_WITHIN, guard.ready()).await else { return };
    let _ = tokio::time::timeout(STOP_WITHIN, guard.ask(Request::Kill { epoch: LAST })).await;
    let mut states = guard.states();
    let down = |state: &Option<millrace_executors::guard::State>| {
        state.as_ref().is_none_or(|state| state.server.process().is_none())
    };
    let _ = tokio::time::timeout(STOP_WITHIN, states.wait_for(down)).await;
    if let Some(pid) = i32::try_from(state.guard_pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        while rustix::process::test_kill_process(pid).is_ok()
            && std::path::Path::new("/proc").join(pid.as_raw_pid().to_string()).join("exe").exists()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A cluster with one member on each of `hosts`, on free ports of loopback; the first one is the primary.
pub fn cluster_of(flavour: Flavour, template: &str, hosts: &[HostId]) -> anyhow::Result<ClusterSpec> {
    let mut members = Vec::new();
    // All listeners are held until every port is known, so that no port is given out twice. The kernel gives ports from
    // 32,768 on to clients, which could take one between now and the server's start: these lie below.
    let from = FIRST_PORT + (std::process::id() % 80) as u16 * 100;
    let listeners: Vec<std::net::TcpListener> = (from..LAST_PORT)
        .filter_map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok())
        .take(hosts.len())
        .collect();
    if listeners.len() < hosts.len() {
        bail!("no free ports between {from} and {LAST_PORT} on 127.0.0.1");
    }
    for (number, (host, listener)) in hosts.iter().zip(&listeners).enumerate() {
        members.push(Member {
            instance: InstanceId::parse(format!("db{}", number + 1))?,
            host: host.clone(),
            address: "127.0.0.1".to_owned(),
            port: listener.local_addr()?.port(),
        });
    }
    Ok(ClusterSpec {
        name: "shop".to_owned(),
        flavour,
        primary: members[0].instance.clone(),
        acknowledgers: members.iter().map(|member| member.instance.clone()).collect(),
        acknowledgements: 1,
        mode: Mode::Auto,
        template: Some(template.to_owned()),
        members,
    })
}
