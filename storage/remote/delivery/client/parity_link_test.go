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

package client_test

import (
	"context"

	"github.com/prometheus/common/model"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"

	"github.com/prometheus/prometheus/storage/remote"
)

func init() {
	client.StoreByStock = func(ctx context.Context, cfg client.Config, body []byte, attempt int) error {
		stock, err := remote.NewWriteClient(cfg.Name, &remote.ClientConfig{
			URL:              cfg.URL,
			Timeout:          model.Duration(cfg.Timeout),
			HTTPClientConfig: cfg.HTTPClientConfig,
			SigV4Config:      cfg.SigV4,
			Headers:          cfg.Headers,
			RoundRobinDNS:    cfg.RoundRobinDNS,
			WriteProtoMsg:    cfg.Protocol,
		})
		if err != nil {
			return err
		}
		_, err = stock.Store(ctx, body, attempt)
		return err
	}
}
