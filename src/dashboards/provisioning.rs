//! What Grafana is told at its start: where its data is, and where the boards are. Beside it a page for people: how both are used, and
//! which panels an edition has not, with why.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Edition, LeftOut};

/// The files.
pub(super) fn files(edition: Edition, left_out: &[LeftOut]) -> Vec<(PathBuf, String)> {
    let data = match edition {
        Edition::Prometheus => PROMETHEUS,
        Edition::Influxql => INFLUXQL,
    };
    [
        ("provisioning/datasources/millrace.yaml", data.to_owned()),
        ("provisioning/dashboards/millrace.yaml", BOARDS.to_owned()),
        ("README.md", page(edition, left_out)),
    ]
    .map(|(path, text)| (PathBuf::from(path), text))
    .into()
}

/// A sample and a window are 10 s each: `timeInterval` says so, and `$__rate_interval` follows from it.
const PROMETHEUS: &str = "\
# Grafana reads this at its start. MILLRACE_STORE_URL is in its environment: http://127.0.0.1:8428, for instance.
apiVersion: 1
datasources:
  - name: Millrace
    uid: millrace
    type: prometheus
    access: proxy
    url: $MILLRACE_STORE_URL
    editable: false
    jsonData:
      httpMethod: POST
      timeInterval: 10s
";

/// The same by InfluxQL. InfluxDB 2 and 3 take a token in a header, InfluxDB 1 does not look at it.
const INFLUXQL: &str = "\
# Grafana reads this at its start. MILLRACE_STORE_URL and MILLRACE_STORE_TOKEN are in its environment.
apiVersion: 1
datasources:
  - name: Millrace
    uid: millrace-influxql
    type: influxdb
    access: proxy
    url: $MILLRACE_STORE_URL
    editable: false
    jsonData:
      version: InfluxQL
      dbName: millrace
      httpMode: POST
      timeInterval: 10s
      httpHeaderName1: Authorization
    secureJsonData:
      httpHeaderValue1: Token $MILLRACE_STORE_TOKEN
";

const BOARDS: &str = "\
# Grafana reads this at its start, and looks at the folder every minute.
apiVersion: 1
providers:
  - name: millrace
    folder: Millrace
    type: file
    disableDeletion: true
    updateIntervalSeconds: 60
    options:
      path: /var/lib/grafana/dashboards/millrace
      foldersFromFilesStructure: false
";

fn page(edition: Edition, left_out: &[LeftOut]) -> String {
    let name = edition.name();
    let mut page = format!(
        "# Dashboards, edition `{name}`\n\n\
         Written by `millrace dashboards --out DIR --datasource {name}`. Copy `dashboards/` to `/var/lib/grafana/dashboards/millrace/` and\n\
         `provisioning/` to `/etc/grafana/provisioning/`, or import single boards by hand: each asks for its data source.\n"
    );
    if edition == Edition::Prometheus {
        page.push_str(
            "\nThe board *Millrace itself* shows what the processes expose at `/metrics`: have them scraped every 10 s with\n\
             `honor_labels: true`, because `instance` there is a database server and not the address that is scraped.\n",
        );
        return page;
    }
    page.push_str("\nEvents (a new primary) are not marked in this edition.\n");
    let mut whys: Vec<_> = left_out.iter().map(|one| one.why).collect();
    whys.sort_unstable();
    whys.dedup();
    for why in whys {
        let _ = write!(page, "\nNot in this edition, because {}:\n\n", why.why());
        for LeftOut { board, panel, .. } in left_out.iter().filter(|one| one.why == why) {
            let _ = writeln!(page, "* {board}: {panel}");
        }
    }
    page
}
