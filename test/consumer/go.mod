// A program for stock's packages; to be built with the fork in their place, and without.
module github.com/ackwal/ackwal/test/consumer

go 1.26.0

require github.com/prometheus/prometheus v0.316.0

replace github.com/prometheus/prometheus => ../../build/fork
