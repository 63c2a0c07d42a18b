// Our packages imported beside Prometheus as released, in the version that they
// require; for -modfile and the build tag direct.
module github.com/ackwal/ackwal/test/embedder

go 1.26.0

require github.com/ackwal/ackwal v0.0.0

replace github.com/ackwal/ackwal => ../..
