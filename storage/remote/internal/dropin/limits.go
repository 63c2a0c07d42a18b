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

package dropin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/room"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Environment variables that a program's operator may set, since the program knows
// nothing of delivery.
const (
	// EnvDelivery is durable, which is the default, or best-effort, for stock's
	// remote write.
	EnvDelivery = "PROMETHEUS_REMOTE_WRITE_DELIVERY"
	// EnvMaxSize is how large a log may become in bytes, with a unit such as 10GB,
	// before what an endpoint has not acknowledged may be removed. Without it the
	// log may have what its file system has, less a reserve.
	EnvMaxSize = "PROMETHEUS_REMOTE_WRITE_WAL_MAX_SIZE"
	// EnvMaxTime is how old, such as 12h, what an endpoint has not acknowledged may
	// become before it may be removed. Without it age is no reason.
	EnvMaxTime = "PROMETHEUS_REMOTE_WRITE_WAL_MAX_TIME"
)

// The values of [EnvDelivery].
const (
	Durable    = "durable"
	BestEffort = "best-effort"
)

// limits say when the writer of a log may remove what is not delivered.
type limits struct {
	maxSize int64         // Bytes, 0 for that of the file system.
	maxTime time.Duration // 0 for none.

	mtx      sync.Mutex // Guards what follows.
	byVolume room.DefaultLimit
}

// fromEnvironment reads the limits, and whether everything is left to stock's storage.
func (l *limits) fromEnvironment(get func(string) string) (leave bool, err error) {
	var errs []error
	switch mode := get(EnvDelivery); mode {
	case "", Durable:
	case BestEffort:
		leave = true
	default:
		errs = append(errs, fmt.Errorf("%s is %q, not %s or %s", EnvDelivery, mode, Durable, BestEffort))
	}
	if text := get(EnvMaxSize); text != "" {
		size, err := units.ParseBase2Bytes(text)
		if err == nil && size <= 0 {
			err = errors.New("it has to be above 0")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s is %q: %w", EnvMaxSize, text, err))
		}
		l.maxSize = int64(size)
	}
	if text := get(EnvMaxTime); text != "" {
		age, err := model.ParseDuration(text)
		if err == nil && age <= 0 {
			err = errors.New("it has to be above 0")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s is %q: %w", EnvMaxTime, text, err))
		}
		l.maxTime = time.Duration(age)
	}
	return leave, errors.Join(errs...)
}

// mayRemove returns why the segments up to last have to stay. Where a limit is exceeded
// they need not, and what endpoints lose by it is counted before they go. All of them
// go then, because the writer decides how far it removes. s is nil while nothing is
// delivered.
func (l *limits) mayRemove(ctx context.Context, logger *slog.Logger, s *delivery.Storage, wal string, last int) error {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	reason, err := l.exceeded(wal, last)
	if err != nil {
		return fmt.Errorf("find out how much of the write-ahead log there is: %w", err)
	}
	if s == nil {
		if reason == "" {
			return fmt.Errorf("the write-ahead log in %s is kept until remote write has a configuration that it can deliver it with: nothing is removed now", wal)
		}
		logger.Error("A limit removes a part of the log before it is known which endpoints need it, and it is not counted", "reason", reason, "up_to_segment", last)
		return nil
	}
	saved, floor := s.Persist(ctx), s.Floor()
	if floor.State == gate.Free {
		return nil
	}
	first, end, err := wlog.Segments(wal)
	switch {
	case err != nil:
		return fmt.Errorf("list the segments in %s: %w", wal, err)
	case floor.State == gate.Held && floor.Position.Segment > end:
		return fmt.Errorf("the write-ahead log in %s ends before what remote write has read of it; nothing is removed before that has begun anew", wal)
	case floor.Releases(last):
		return nil
	case reason != "":
		return s.Forfeit(ctx, cursor.Position{Segment: last + 1}, reason)
	}
	by := "because the positions of its endpoints are not on the disk"
	if floor.State == gate.Held {
		by = "which is not acknowledged by " + strings.Join(floor.By, ", ")
	}
	err = fmt.Errorf("the write-ahead log in %s is kept from segment %08d on, %s: nothing is removed now, the next truncation tries again", wal, max(first, floor.Position.Segment), by)
	if saved != nil {
		err = fmt.Errorf("%w; the newest positions cannot be saved: %w", err, saved)
	}
	return err
}

// mayRemoveClosed is mayRemove after delivery has ended, up to a floor. What is removed
// above that is counted by the next run.
func (l *limits) mayRemoveClosed(logger *slog.Logger, floor gate.Floor, wal string, last int) error {
	if floor.State == gate.Free || floor.Releases(last) {
		return nil
	}
	l.mtx.Lock()
	defer l.mtx.Unlock()
	switch reason, err := l.exceeded(wal, last); {
	case err != nil:
		return fmt.Errorf("find out how much of the write-ahead log there is: %w", err)
	case reason == "":
		return fmt.Errorf("remote write is closed, and the write-ahead log in %s is kept from segment %08d on for its next start: nothing is removed now", wal, floor.Position.Segment)
	default:
		logger.Error("A limit removes a part of the log after remote write was closed; what endpoints had not acknowledged of it is counted by the next start", "reason", reason, "up_to_segment", last)
		return nil
	}
}

// observe lets the limit that the file system sets know how much is free now.
func (l *limits) observe(wal string) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	_, _ = l.exceeded(wal, -1) // Where it cannot be told, it is asked again.
}

// exceeded returns which limit allows to remove segments up to last, if any does.
// Callers hold mtx.
func (l *limits) exceeded(wal string, last int) (reason string, err error) {
	var size, segment int64
	// With a separator at its end the name of a link is that of what it leads to.
	err = filepath.WalkDir(wal+string(filepath.Separator), func(_ string, e fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil && e.Type().IsRegular() {
			info, err = e.Info()
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // Of a checkpoint that is being removed.
		}
		if info != nil {
			size += info.Size()
			segment = max(segment, info.Size())
		}
		return err
	})
	if err != nil {
		return "", err
	}
	limit := l.maxSize
	if limit == 0 {
		switch free, total, err := room.Space(wal); {
		case err == nil:
			limit, _ = l.byVolume.Of(size, free, total, segment)
		case !errors.Is(err, errors.ErrUnsupported):
			return "", err
		}
	}
	if limit > 0 && size > limit {
		return delivery.ReasonMaxSize, nil
	}
	if l.maxTime > 0 && last >= 0 {
		info, err := os.Stat(wlog.SegmentName(wal, last))
		if err == nil && time.Since(info.ModTime()) > l.maxTime {
			return delivery.ReasonMaxTime, nil
		}
	}
	return "", nil
}
