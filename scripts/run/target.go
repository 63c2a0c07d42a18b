// Copyright The Prometheus Authors
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
// http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package main

import (
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// startTarget serves a few metrics of an invented shop until it is closed.
// Every scrape is also a little business.
func startTarget() (*http.Server, error) {
	reg := prometheus.NewRegistry()
	orders := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "example_orders_total", Help: "Orders by kind of goods."}, []string{"goods"})
	stock := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "example_stock_items", Help: "Items in stock by kind of goods."}, []string{"goods"})
	packing := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "example_packing_seconds", Help: "Time it took to pack an order.",
		Buckets: []float64{30, 60, 120, 300}, NativeHistogramBucketFactor: 1.1,
	})
	reg.MustRegister(orders, stock, packing)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	metrics := promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	s := &http.Server{
		Addr:              l.Addr().String(),
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, goods := range []string{"books", "pens", "paper"} {
				sold := rand.N(5)
				orders.WithLabelValues(goods).Add(float64(sold))
				stock.WithLabelValues(goods).Set(float64(50 - sold))
				for range sold {
					packing.Observe(20 + rand.ExpFloat64()*60)
				}
			}
			metrics.ServeHTTP(w, r)
		}),
	}
	go func() { _ = s.Serve(l) }() // Ends with Close.
	return s, nil
}
