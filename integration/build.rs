// Where the emulator is missing, its tests are shown as ignored here as well.
include!("../store/spanner/build.rs");
