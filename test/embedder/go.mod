// What a user of Prometheus' packages writes to have the fork's instead.
module github.com/ackwal/ackwal/test/embedder

go 1.26.0

require github.com/prometheus/prometheus v0.316.0

replace github.com/prometheus/prometheus => ../../build/fork
