//! The templates that `make servers` leaves, read as the product reads them. In: a flavour. Out: [`Template`], or a panic that says
//! `make servers`.

use std::path::PathBuf;

use millrace_executors::hands::files::Template;
use millrace_mysql::Flavour;

/// The template of `flavour`, which must have been made before.
pub fn template_of(flavour: Flavour) -> Template {
    let name = match flavour {
        Flavour::MySql => "mysql-9.7",
        Flavour::MariaDb => "mariadb-10.11",
    };
    let folder = root().join("templates").join(name);
    Template::read(&folder).unwrap_or_else(|error| panic!("no {flavour} to test with: run `make servers`: {error}"))
}

/// Where `scripts/servers.sh` keeps the servers.
fn root() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("MILLRACE_SERVERS")
        .or_else(|| from("XDG_CACHE_HOME").map(|cache| cache.join("millrace/servers")))
        .or_else(|| from("HOME").map(|home| home.join(".cache/millrace/servers")))
        .expect("MILLRACE_SERVERS or HOME is set, so that the test servers can be found")
}
