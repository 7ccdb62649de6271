#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| outrigger_fuzz::checks::request_head(input));
