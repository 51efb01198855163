//! The program: everything is in the library.

/// A request allocates some fifty small things; the system's allocator took about a seventh of its processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    refresh_audit::cli::main()
}
