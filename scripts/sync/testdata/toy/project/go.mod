module github.com/ackwal/ackwal

go 1.25

require github.com/prometheus/prometheus v0.909.0
