//! The one binary: `millrace`.

/// Small values come from mimalloc, what the Kafka client takes from the C library's allocator. Both keep what was freed for a moment
/// (`allocator.c`): values of 100 KiB come and go thousands of times a second, and to give each of them back to the kernel and to
/// fetch it anew, page by page, took a quarter of the windows' time (`cargo bench --bench kafka windows`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    millrace::cli::main()
}
