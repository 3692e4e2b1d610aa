//! The hands: the one impure place. A step request comes in, is checked against the promises, done, and what was seen goes out.
//! One step at a time per instance; whoever asks twice gets the same answer, because each step looks first.

pub mod files;
pub mod process;
pub mod server;
pub mod slow_log;
pub mod tail;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_schemas::cluster::Process as ProcessFact;
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::ids::{ClusterId, Epoch, InstanceId};
use millrace_schemas::topics::actions::{
    CreateInstance, ExtraTransaction, Report, Step, StepOutcome, StepRequest, StepResult,
};

use crate::guard;
use crate::promises::{Promise, Promises};
use files::{Instance, NewInstance, Template};
use process::Process;
use server::{Owned, Replication, Trouble};

/// What the hands of a host work with.
#[derive(Debug)]
pub struct Hands {
    /// The program that is run as `PROGRAM guard --dir DIR`.
    program: PathBuf,
    instances: PathBuf,
    templates: PathBuf,
    promises: Mutex<Promises>,
    /// One step at a time per instance.
    busy: Mutex<HashMap<InstanceId, Arc<tokio::sync::Mutex<()>>>>,
}

/// What a step needs to know.
struct Work<'a> {
    cluster: &'a ClusterId,
    request: &'a StepRequest,
    /// How long the step may take, from now.
    within: Duration,
}

impl Hands {
    /// Hands that keep instances in `instances` and copy them from `templates`.
    pub fn new(program: PathBuf, instances: PathBuf, templates: PathBuf, promises: Promises) -> Self {
        Self { program, instances, templates, promises: Mutex::new(promises), busy: Mutex::default() }
    }

    /// The promise for an instance.
    pub fn promise(&self, cluster: &ClusterId, instance: &InstanceId) -> Promise {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner).of(cluster, instance)
    }

    /// The instances that are complete.
    pub fn instances(&self) -> Vec<Instance> {
        let Ok(folders) = std::fs::read_dir(&self.instances) else { return Vec::new() };
        folders.flatten().filter_map(|folder| Instance::read(&folder.path()).ok().flatten()).collect()
    }

    /// Connects to the guard of an instance, starting one if none runs.
    pub async fn process(&self, instance: &Instance) -> Result<Process, process::ProcessError> {
        Process::ensure_guard(&self.program, instance).await
    }

    /// Performs a step, `within` its time, and says what was seen.
    pub async fn perform(&self, cluster: &ClusterId, request: &StepRequest, within: Duration) -> StepResult {
        let began = Instant::now();
        let turn = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(busy.entry(request.instance.clone()).or_default())
        };
        // A newer epoch does not wait for a step that hangs: its SQL session is killed through GET_LOCK.
        let turn = tokio::time::timeout(within / 4, turn.lock_owned()).await;
        let promised = self.promises.lock().unwrap_or_else(PoisonError::into_inner).begin(cluster, request);
        let outcome = if let Err(refusal) = promised {
            StepOutcome::Refused { reason: refusal.to_string() }
        } else {
            let within = within.saturating_sub(began.elapsed());
            let work = Work { cluster, request, within };
            match tokio::time::timeout(within, self.work(&work)).await {
                Ok(Ok(report)) => StepOutcome::Done(Box::new(report)),
                Ok(Err(error)) => StepOutcome::Failed { error: error.to_string() },
                Err(_) => StepOutcome::Failed { error: format!("not done within {} ms", within.as_millis()) },
            }
        };
        drop(turn);
        request.result(outcome, began.elapsed().as_micros() as u64)
    }

    /// The one list of what hands can do.
    async fn work(&self, work: &Work<'_>) -> Result<Report, Trouble> {
        let epoch = work.request.epoch;
        let until = Instant::now() + work.within;
        match &work.request.step {
            Step::CreateInstance(create) => self.create(work.cluster, create).await,
            Step::StartClosed { keep } => self.start(work, keep.as_ref()).await,
            Step::Fence {} => self.fence(work, epoch).await,
            Step::Follow { source } => {
                let instance = self.find(&work.request.instance)?;
                let account = replication(&instance)?;
                let mut owned = Owned::take(&instance.target()).await?;
                let outcome = server::follow(&mut owned, source, &account, until).await;
                finish(owned, outcome).await
            }
            step => {
                let instance = self.find(&work.request.instance)?;
                let mut owned = Owned::take(&instance.target()).await?;
                let outcome = over_sql(&mut owned, step, until).await;
                finish(owned, outcome).await
            }
        }
    }

    fn find(&self, instance: &InstanceId) -> Result<Instance, Trouble> {
        let dir = self.instances.join(instance.as_str());
        let unfit = |error: files::FilesError| Trouble::Unfit(error.to_string());
        let found = Instance::read(&dir).map_err(unfit)?;
        found.ok_or_else(|| Trouble::Unfit(format!("there is no instance {instance} in {}", self.instances.display())))
    }

    async fn create(&self, cluster: &ClusterId, create: &CreateInstance) -> Result<Report, Trouble> {
        let name = &create.template;
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(Trouble::Unfit(format!("'{name}' is not the name of a template")));
        }
        let (folder, dir) = (self.templates.join(name), self.instances.join(create.member.instance.as_str()));
        let new = NewInstance {
            instance: create.member.instance.clone(),
            cluster: cluster.clone(),
            flavour: create.flavour,
            address: create.member.address.clone(),
            port: create.member.port,
            server_id: create.server_id,
            acknowledger: create.acknowledger,
            hold_ms: None,
            close_ms: None,
        };
        let copying = tokio::task::spawn_blocking(move || {
            let template = Template::read(&folder)?;
            files::create_instance(&dir, &template, &new)
        });
        match copying.await {
            Ok(Ok(instance)) => {
                Ok(Report { note: Some(format!("in {}", instance.dir.display())), ..Report::default() })
            }
            Ok(Err(error)) => Err(Trouble::Unfit(error.to_string())),
            Err(error) => Err(Trouble::Unfit(format!("copying ended: {error}"))),
        }
    }

    /// Starts closed. `keep` is what the promoted server holds, when another was promoted since this one ran: what this one
    /// wrote beyond it and nobody acknowledged is named, saved and dropped before it can be seen.
    async fn start(&self, work: &Work<'_>, keep: Option<&GtidSet>) -> Result<Report, Trouble> {
        let instance = self.find(&work.request.instance)?;
        let process = self.process(&instance).await.map_err(unfit)?;
        let before = process.guard().ready().await.map_err(unfit)?;
        let mut report = Report::default();
        if let (Some(keep), None) = (keep, before.server.process()) {
            report.transactions = self.cut_tail(&instance, keep.clone(), work.request.epoch).await?;
        }
        let superseded = keep.is_some();
        let state = process.start_closed(work.request.epoch, superseded, work.within).await.map_err(unfit)?;
        report.note = truncation(&instance, superseded);
        report.process = Some(fact(&state));
        Ok(report)
    }

    async fn cut_tail(
        &self,
        instance: &Instance,
        keep: GtidSet,
        epoch: Epoch,
    ) -> Result<Vec<ExtraTransaction>, Trouble> {
        if instance.flavour != millrace_mysql::Flavour::MySql {
            return Ok(Vec::new()); // MariaDB does it by itself when it recovers
        }
        let (data, save) = (instance.dir.join("data"), instance.dir.join(format!("cut-before-epoch-{epoch}")));
        match tokio::task::spawn_blocking(move || tail::cut(&data, &keep, &save)).await {
            Ok(Ok(cut)) => Ok(cut.unwrap_or_default()),
            Ok(Err(error)) => Err(Trouble::Unfit(format!("the binary log cannot be looked through: {error}"))),
            Err(error) => Err(Trouble::Unfit(format!("looking through the binary log ended: {error}"))),
        }
    }

    /// Closed, or down and held down. Closing is tried first; what does not confirm within a second is killed.
    async fn fence(&self, work: &Work<'_>, epoch: Epoch) -> Result<Report, Trouble> {
        let instance = self.find(&work.request.instance)?;
        let process = self.process(&instance).await.map_err(unfit)?;
        let state = process.hold(epoch).await.map_err(unfit)?;
        if state.is_held_down_for(epoch) {
            return Ok(Report { process: Some(fact(&state)), ..Report::default() });
        }
        match server::close(&instance.target()).await {
            Ok(report) => Ok(Report { process: Some(fact(&state)), ..report }),
            Err(error) => {
                let state = process.kill_and_hold(epoch, work.within).await.map_err(unfit)?;
                let note = Some(format!("killed, because closing was not confirmed: {error}"));
                Ok(Report { process: Some(fact(&state)), note, ..Report::default() })
            }
        }
    }
}

fn unfit(error: impl std::fmt::Display) -> Trouble {
    Trouble::Unfit(error.to_string())
}

async fn over_sql(owned: &mut Owned, step: &Step, until: Instant) -> Result<Report, Trouble> {
    match step {
        Step::Open { acknowledgements } => server::open(owned, *acknowledgements).await,
        Step::StopReceiver {} => server::stop_receiver(owned).await,
        Step::Promote { apply, acknowledgements } => server::promote(owned, apply, *acknowledgements, until).await,
        Step::Quarantine {} => server::quarantine(owned).await,
        Step::ReadSets {} => server::read_sets(owned).await,
        Step::NameExtra { extra } => server::name_extra(owned, extra).await,
        Step::Neutralise { extra } => server::neutralise(owned, extra).await,
        Step::CatchUp { executed } => server::catch_up(owned, executed, until).await,
        Step::CreateInstance(_) | Step::StartClosed { .. } | Step::Fence {} | Step::Follow { .. } => {
            Err(Trouble::Unfit(format!("{} is not done over SQL", step.name())))
        }
    }
}

async fn finish(owned: Owned, outcome: Result<Report, Trouble>) -> Result<Report, Trouble> {
    owned.release().await;
    outcome
}

fn replication(instance: &Instance) -> Result<Replication, Trouble> {
    let account = &instance.accounts.replication;
    let password = account.password(&instance.dir).map_err(unfit)?;
    Ok(Replication { user: account.user.clone(), password })
}

/// The guard's state as a fact.
pub fn fact(state: &guard::State) -> ProcessFact {
    match (state.server.process(), &state.last_exit) {
        (Some(process), _) => ProcessFact::Running { pid: process.pid },
        (None, Some(exit)) => ProcessFact::Exited {
            code: exit.code,
            signal: exit.signal,
            requested: exit.cause.is_requested(),
            held: state.hold.is_some(),
        },
        (None, None) => ProcessFact::Unknown,
    }
}

/// What `MariaDB` says of a tail that it cut off when it recovered.
fn truncation(instance: &Instance, superseded: bool) -> Option<String> {
    if !superseded || instance.flavour != millrace_mysql::Flavour::MariaDb {
        return None;
    }
    let text = std::fs::read(instance.error_log()).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().take(200).find(|line| line.contains("to remove transactions starting from GTID"))?;
    let gtid = line.rsplit("GTID ").next()?.trim();
    Some(format!("recovery cut off transactions that nobody acknowledged, starting from {gtid}"))
}
