//! The `fhir-server` program.

use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// Of mimalloc, which the crate above links but does not wrap: gives pages that are free back to the system.
    fn mi_collect(force: bool);
}

/// The allocator gives memory back when it is asked for more. After a rush nobody asks, and all that the rush needed would be kept.
const COLLECT_INTERVAL: Duration = Duration::from_secs(10);

fn main() -> std::process::ExitCode {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(COLLECT_INTERVAL);
            // SAFETY: it may be called by any thread at any time.
            unsafe { mi_collect(true) };
        }
    });
    fhir_server::cli::run()
}
