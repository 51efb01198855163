//! The program: everything is in the library.

/// A request allocates some fifty small things on one thread, and most of them are freed on another: an allocator that gives
/// back what other threads freed, see benches/README.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    refresh_audit::cli::main()
}
