//! The one binary: `millrace`.

fn main() -> std::process::ExitCode {
    millrace::cli::main()
}
