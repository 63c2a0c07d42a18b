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

package delivery

import (
	"context"

	"github.com/prometheus/common/model"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
)

// ReadStorage is what a remote storage has beside remote write: it answers queries by
// remote read, and counts what is appended. Stock's remote.Storage is one, as long
// as its configuration is without remote write.
type ReadStorage interface {
	storage.Storage
	storage.CostSamplingQueryable
	ApplyConfig(conf *config.Config) error
}

// nothing reads and counts nothing.
type nothing struct{}

var (
	_ ReadStorage        = nothing{}
	_ storage.Appender   = nothing{}
	_ storage.AppenderV2 = nothingV2{}
)

func (nothing) ApplyConfig(*config.Config) error                               { return nil }
func (nothing) CostSamplingQueryable() (storage.SampleAndChunkQueryable, bool) { return nil, true }
func (nothing) StartTime() (int64, error)                                      { return int64(model.Latest), nil }
func (nothing) Close() error                                                   { return nil }
func (nothing) Querier(int64, int64) (storage.Querier, error)                  { return storage.NoopQuerier(), nil }

func (nothing) ChunkQuerier(int64, int64) (storage.ChunkQuerier, error) {
	return storage.NoopChunkedQuerier(), nil
}
func (nothing) Appender(context.Context) storage.Appender     { return nothing{} }
func (nothing) AppenderV2(context.Context) storage.AppenderV2 { return nothingV2{} }

func (nothing) Commit() error                     { return nil }
func (nothing) Rollback() error                   { return nil }
func (nothing) SetOptions(*storage.AppendOptions) {}

func (nothing) Append(storage.SeriesRef, labels.Labels, int64, float64) (storage.SeriesRef, error) {
	return 0, nil
}

func (nothing) AppendExemplar(storage.SeriesRef, labels.Labels, exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, nil
}

func (nothing) AppendHistogram(storage.SeriesRef, labels.Labels, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, nil
}

func (nothing) AppendHistogramSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, nil
}

func (nothing) AppendSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64) (storage.SeriesRef, error) {
	return 0, nil
}

func (nothing) UpdateMetadata(storage.SeriesRef, labels.Labels, metadata.Metadata) (storage.SeriesRef, error) {
	return 0, nil
}

type nothingV2 struct{}

func (nothingV2) Commit() error   { return nil }
func (nothingV2) Rollback() error { return nil }

func (nothingV2) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 0, nil
}
