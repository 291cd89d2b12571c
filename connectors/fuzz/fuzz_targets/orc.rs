#![no_main]

libfuzzer_sys::fuzz_target!(init: lotic_connectors_fuzz::init(), |bytes: &[u8]| {
    lotic_connectors_fuzz::orc(bytes);
});
