//! The engine from outside: scenes with one service, scenes with several, and random families in a random world.

mod checkers;
mod family;
mod life;
mod pool;
mod random;
mod stage;
mod takeover;
mod world;
