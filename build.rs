//! Compiles what must be C: a function in the place of one of the Kafka client library (`src/bus/kafka/leader_hints.c`), and how the
//! binary's allocators are set before anything runs (`src/allocator.c`). Each says why.

const LEADER_HINTS: &str = "src/bus/kafka/leader_hints.c";
const ALLOCATOR: &str = "src/allocator.c";

fn main() {
    for file in [LEADER_HINTS, ALLOCATOR] {
        println!("cargo::rerun-if-changed={file}");
    }
    // Whole: nothing refers to it before the linker has renamed what does.
    cc::Build::new()
        .file(LEADER_HINTS)
        .warnings_into_errors(true)
        .link_lib_modifier("+whole-archive")
        .compile("leader_hints");
    println!("cargo::rustc-link-arg=-Wl,--wrap=rd_kafka_metadata_update_op");

    // Of the binary alone, whose allocators these are; whole, as nothing refers to it at all.
    let mut allocator = cc::Build::new();
    allocator.file(ALLOCATOR).warnings_into_errors(true).cargo_metadata(false);
    // Where libmimalloc-sys has its header.
    if let Ok(include) = std::env::var("DEP_MIMALLOC_INCLUDE_DIR") {
        allocator.include(include);
    }
    allocator.compile("allocator");
    let out = std::env::var("OUT_DIR").expect("cargo says where to write");
    println!("cargo::rustc-link-arg-bins=-Wl,--whole-archive,{out}/liballocator.a,--no-whole-archive");
}
