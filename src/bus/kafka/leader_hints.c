/* What a broker's answer says of new leaders is passed over; who leads is asked, as it is after every error.
 *
 * An answer that refuses a record or a fetch may name the new leaders of the partitions (KIP-951). Where one of them has none yet,
 * as when a broker is just back, librdkafka from 2.5.0 on (2.12.1 seen, 2.14.1 reported) leaves a part of its list unwritten and
 * reads it: the process ends by SIGSEGV (its issue 5280), or sends nothing more to that partition (5430). The linker puts this
 * function in the place of the one that reads the list (build.rs); the library asks for the leaders after each such answer anyway.
 * `a_broker_that_comes_back_ends_nobody` (tests/fleets) dies without it. It can go once a release has both mended.
 */

/* RD_KAFKA_OP_RES_HANDLED of the library's rdkafka_op.h: it was dealt with, and its memory is free to go. */
enum { HANDLED = 1 };

int __wrap_rd_kafka_metadata_update_op(void *client, void *metadata);

int __wrap_rd_kafka_metadata_update_op(void *client, void *metadata) {
        (void)client;
        (void)metadata;
        return HANDLED;
}
