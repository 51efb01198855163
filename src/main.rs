//! The program: everything is in the library.

fn main() -> std::process::ExitCode {
    refresh_audit::cli::main()
}
