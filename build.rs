//! Links a function of our own in the place of one of the Kafka client library: `src/bus/kafka/leader_hints.c` says why.

const FUNCTION: &str = "src/bus/kafka/leader_hints.c";

fn main() {
    println!("cargo::rerun-if-changed={FUNCTION}");
    // Whole: nothing refers to it before the linker has renamed what does.
    cc::Build::new()
        .file(FUNCTION)
        .warnings_into_errors(true)
        .link_lib_modifier("+whole-archive")
        .compile("leader_hints");
    println!("cargo::rustc-link-arg=-Wl,--wrap=rd_kafka_metadata_update_op");
}
