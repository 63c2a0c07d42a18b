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

package statuspage

import (
	"bytes"
	_ "embed" // The page's form.
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed page.html
var form string

var page = template.Must(template.New("delivery").Parse(form))

// Options of the page.
type Options struct {
	// Title is that of all pages, App what is shown at their top.
	Title, App string
	// Prefix is the path of the external URL, before that of each page.
	Prefix string
	// HasUI says that the binary has the web pages of Prometheus.
	HasUI bool
	// Agent says that it is an agent and no server.
	Agent bool
}

// HasUI reports whether there are the web pages of Prometheus, the new or the old ones,
// among the assets of a binary.
func HasUI(assets http.FileSystem, old bool) bool {
	root := "/static/mantine-ui"
	if old {
		root = "/static/react-app"
	}
	f, err := assets.Open(root + "/index.html")
	if err != nil {
		return false
	}
	_ = f.Close() // It was not even read.
	return true
}

// link is a link at the top of the page.
type link struct {
	Name, To string
	Here     bool
}

// content is what the page is made of.
type content struct {
	Options
	Links   []link
	Now     string
	Message string
	View    *view // Nil if there is nothing to show.
}

// Page returns a handler for the page.
func Page(source Source, o Options) http.HandlerFunc {
	o.Prefix = strings.TrimRight(o.Prefix, "/")
	links := o.links()
	return func(w http.ResponseWriter, _ *http.Request) {
		c := content{Options: o, Links: links, Now: time.Now().UTC().Format("2006-01-02 15:04:05 UTC")}
		status := http.StatusOK
		switch s, err := source.Get(); {
		case err == nil:
			v := viewOf(s)
			c.View = &v
		case errors.Is(err, ErrUnavailable) && o.Agent:
			c.Message = "Delivery is by best effort: the write-ahead log is truncated by age, whatever endpoints have acknowledged. There is nothing to show without --storage.agent.delivery=durable."
		case errors.Is(err, ErrUnavailable):
			c.Message = "This is a server. Durable delivery is for agents, which --agent starts."
		case errors.Is(err, ErrStarting):
			status, c.Message = http.StatusServiceUnavailable, "The agent is starting: the write-ahead log is being read."
		default:
			status, c.Message = http.StatusInternalServerError, "The status is not known: "+err.Error()
		}
		var text bytes.Buffer
		if err := page.Execute(&text, c); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		// Without the web pages there is no icon, and an empty one keeps browsers from asking.
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:")
		w.WriteHeader(status)
		_, _ = w.Write(text.Bytes()) // The browser has gone away, if it fails.
	}
}

// links returns where else one can go.
func (o Options) links() []link {
	all := []link{{"Delivery", "/delivery", true}}
	switch {
	case o.HasUI && o.Agent:
		all = append(all, link{"Agent", "/agent", false})
	case o.HasUI:
		all = append(all, link{"Query", "/query", false})
	}
	if o.HasUI {
		all = append(all, link{"Targets", "/targets", false}, link{"Service discovery", "/service-discovery", false}, link{"Configuration", "/config", false}, link{"Status", "/status", false})
	} else {
		all = append(all, link{"Metrics", "/metrics", false}, link{"Targets", "/api/v1/targets", false}, link{"Configuration", "/api/v1/status/config", false}, link{"Flags", "/api/v1/status/flags", false})
	}
	for i := range all {
		all[i].To = o.Prefix + all[i].To
	}
	return all
}
