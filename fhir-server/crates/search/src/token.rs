//! The 64-bit hashes that stand for tokens in both engines. Stable for ever: they are stored.
