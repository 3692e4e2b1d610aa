//! Where a command finds the bus: asked of the process that has it, as the configuration says; the file is opened only when no
//! process has it, and never made.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use millrace_schemas::metrics::Registry;

use crate::bus::http::HttpBus;
use crate::bus::kafka::KafkaBus;
use crate::bus::local::LocalBus;
use crate::bus::signed::trusting;
use crate::bus::{Error, SharedBus};
use crate::config;
use crate::trust::Trust;

/// A bus, for commands that read one.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// Ask the process that has the bus which this configuration describes, or open the file when none runs.
    #[arg(long, value_name = "FILE", conflicts_with = "bus")]
    config: Option<PathBuf>,
    /// Read a bus file. Nobody may have it open.
    #[arg(long, value_name = "FILE")]
    bus: Option<PathBuf>,
}

impl Source {
    /// How anomalies are judged where the configuration is named; else as usual.
    pub(super) fn anomalies(&self) -> anyhow::Result<millrace_processors::anomalies::Settings> {
        let settings = self.config.as_deref().map(config::load).transpose()?;
        Ok(settings.map(|settings| settings.anomalies).unwrap_or_default())
    }

    /// The bus that was named, if one was.
    pub(super) fn open(&self) -> anyhow::Result<Option<SharedBus>> {
        match (&self.config, &self.bus) {
            (Some(path), _) => {
                let settings = config::load(path)?;
                // Who only reads needs no key, and may not be let read it.
                let reads = settings.trust.map(|trust| config::Trust { key_file: None, ..trust });
                Ok(Some(judged(bus(&settings.bus)?.0, reads.as_ref())?))
            }
            (None, Some(file)) => Ok(Some(Arc::new(there(file)?))),
            (None, None) => Ok(None),
        }
    }
}

/// The bus of a configuration, spoken to and read as it says whom to believe; and whether a process runs that has it.
pub(super) fn trusted(settings: &config::Settings) -> anyhow::Result<(SharedBus, bool)> {
    let (bus, runs) = bus(&settings.bus)?;
    Ok((judged(bus, settings.trust.as_ref())?, runs))
}

fn judged(bus: SharedBus, trust: Option<&config::Trust>) -> anyhow::Result<SharedBus> {
    let metrics = Arc::new(Registry::new());
    let trust = trust.map(|trust| Trust::open(trust, Arc::clone(&metrics)).map(Arc::new)).transpose()?;
    Ok(trusting(bus, trust.as_ref(), &metrics))
}

/// The bus, and whether a process runs that has it.
pub(super) fn bus(bus: &config::Bus) -> anyhow::Result<(SharedBus, bool)> {
    let (file, listen) = match bus {
        config::Bus::Kafka(kafka) => {
            let bus = KafkaBus::new(kafka, "cli", Arc::new(Registry::new()))?;
            bus.ping()?;
            return Ok((Arc::new(bus), true));
        }
        config::Bus::Remote { address, token_file, .. } => return Ok((asked(*address, token_file)?, true)),
        config::Bus::File { file, listen: None, .. } => (file, None),
        config::Bus::File { file, listen: Some(address), token_file } => match asked(*address, token_file) {
            Ok(bus) => return Ok((bus, true)),
            Err(Error::Unavailable(_)) => (file, Some(address)), // nobody runs
            Err(error) => return Err(error.into()),
        },
    };
    let opened = there(file).map_err(|error| match (error.downcast_ref(), listen) {
        (Some(Error::OpenElsewhere { .. }), None) => {
            error.context("give [bus] a listen = \"127.0.0.1:7071\" and start it again")
        }
        (Some(Error::OpenElsewhere { .. }), Some(address)) => {
            error.context(format!("nobody answers at {address}, where the process that has it should listen"))
        }
        _ => error,
    });
    Ok((Arc::new(opened?), false))
}

fn asked(address: SocketAddr, token_file: &Path) -> Result<SharedBus, Error> {
    let bus = HttpBus::new(address, token_file)?;
    bus.ping()?;
    Ok(Arc::new(bus))
}

/// Opens a bus file that is there: a mistyped name must not leave an empty one.
fn there(file: &Path) -> anyhow::Result<LocalBus> {
    if !file.exists() {
        bail!("there is no bus file {}: `millrace up` makes it when it starts", file.display());
    }
    Ok(LocalBus::open(file, Arc::new(Registry::new()))?)
}
