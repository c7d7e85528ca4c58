//! Finds the installed PostgreSQL programs: 15 or later, of the major version that made the data.

use crate::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest major version that serves.
const OLDEST: u32 = 15;

/// The folder of the programs, and their major version.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) path: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// Those of the version `data` was made by, else the newest: installing a later one beside it strands nobody.
    pub(super) fn find(data: Option<u32>) -> Result<Binaries, Error> {
        let mut installed: Vec<Binaries> = candidates().into_iter().filter_map(identify).collect();
        installed.sort_by_key(|binaries| binaries.major);
        choose(&installed, data).map_err(Error::Start)
    }
}

fn choose(installed: &[Binaries], data: Option<u32>) -> Result<Binaries, String> {
    let newest = installed.iter().rfind(|found| found.major >= OLDEST);
    let Some(newest) = newest else {
        return Err(format!(
            "no PostgreSQL {OLDEST} or later is installed: install the package `postgresql`, or set DATABASE_URL to an existing database"
        ));
    };
    let Some(major) = data else {
        return Ok(newest.clone());
    };
    let same = installed.iter().rfind(|found| found.major == major);
    same.cloned().ok_or_else(|| {
        format!(
            "the data were made by PostgreSQL {major}, but {} is installed: install PostgreSQL {major} beside it \
             (Debian: `apt-get install postgresql-{major}`, from apt.postgresql.org where the release has it no more); \
             the server then starts, and `fhir-server upgrade` moves the data to {}",
            newest.major, newest.major
        )
    })
}

/// Where distributions put them: Debian, Red Hat, then the search path.
fn candidates() -> Vec<PathBuf> {
    let children = |folder: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().join("bin")).collect()
    };
    let mut found = children("/usr/lib/postgresql");
    found.extend(
        children("/usr")
            .into_iter()
            .filter(|path| path.to_string_lossy().starts_with("/usr/pgsql-")),
    );
    found.extend(children("/opt/homebrew/opt"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path));
    found.retain(|path| path.join("postgres").is_file() && path.join("initdb").is_file());
    found
}

fn identify(path: PathBuf) -> Option<Binaries> {
    let major = major_of(&path)?;
    Some(Binaries { path, major })
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` is 15.
fn major_of(path: &Path) -> Option<u32> {
    let output = Command::new(path.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

fn parse_major(text: &str) -> Option<u32> {
    let version = text.split("(PostgreSQL) ").nth(1)?;
    let digits: &str = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, major) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 17beta2", Some(17)),
            ("postgres", None),
        ] {
            assert_eq!(parse_major(text), major, "{text}");
        }
    }

    #[test]
    fn choice() {
        let check = |installed: &[u32], data: Option<u32>, expect: Result<u32, &str>| {
            let installed: Vec<Binaries> = installed
                .iter()
                .map(|major| Binaries {
                    path: PathBuf::new(),
                    major: *major,
                })
                .collect();
            let chosen = choose(&installed, data);
            match expect {
                Ok(major) => assert_eq!(chosen.unwrap().major, major),
                Err(part) => assert!(chosen.unwrap_err().contains(part)),
            }
        };
        check(&[15, 17], None, Ok(17));
        check(&[15, 17], Some(15), Ok(15));
        check(&[17], Some(15), Err("fhir-server upgrade"));
        check(&[13], None, Err("DATABASE_URL"));
        check(&[], None, Err("DATABASE_URL"));
    }
}
