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

package packaging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	monitoringv1alpha1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/file"
	_ "github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsyaml "sigs.k8s.io/yaml"
)

const (
	root     = "../.."
	examples = root + "/examples"
)

// configurations are the examples that are configurations of Prometheus; a new one in
// the directory has to be here or among objects.
var configurations = []string{
	"mimir/prometheus.yml",
	"prometheus.yml",
	"replicas/agent-a.yml",
	"replicas/agent-b.yml",
	"sharded/agent-0.yml",
	"sharded/agent-1.yml",
}

var objects = []string{
	"kubernetes/agent.yaml",
	"prometheus-operator/agent.yaml",
}

var others = []string{"README.md", "replicas/targets/nodes.yml", "sharded/targets/nodes.yml"}

// Every example is checked by a test below.
func TestNoExampleIsForgotten(t *testing.T) {
	known := append(append(append([]string{}, configurations...), objects...), others...)
	var found []string
	require.NoError(t, filepath.WalkDir(examples, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(examples, name)
			found = append(found, filepath.ToSlash(rel))
		}
		return err
	}))
	require.ElementsMatch(t, known, found)
}

// promtool runs the one under test.
func promtool(t *testing.T, args ...string) string {
	t.Helper()
	name := os.Getenv("ACKWAL_PROMTOOL")
	if name == "" {
		t.Skip("LEFT OUT: ACKWAL_PROMTOOL does not name a promtool; `make packaging-test` does")
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// The configurations are right to promtool, with the files that they refer to, and each
// endpoint has a name: the docs recommend it.
func TestConfigurations(t *testing.T) {
	for _, name := range configurations {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(examples, name)
			requireNamedEndpoints(t, load(t, file))
			require.Contains(t, promtool(t, "check", "config", "--agent", "--lint=all", "--lint-fatal", file), "is valid prometheus config file syntax")
		})
	}
}

func load(t *testing.T, file string) *config.Config {
	t.Helper()
	c, err := config.LoadFile(file, true, promslog.NewNopLogger())
	require.NoError(t, err)
	return c
}

func requireNamedEndpoints(t *testing.T, c *config.Config) {
	t.Helper()
	require.NotEmpty(t, c.RemoteWriteConfigs)
	for _, rw := range c.RemoteWriteConfigs {
		require.NotEmpty(t, rw.Name, "%s", rw.URL)
	}
}

// What is commented out in the annotated configuration is right, too.
func TestCommentedOut(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(examples, "prometheus.yml"))
	require.NoError(t, err)
	var all []string
	uncommented := 0
	for line := range strings.Lines(string(text)) {
		trimmed := strings.TrimLeft(line, " ")
		body, ok := strings.CutPrefix(trimmed, "# ")
		body = strings.TrimRight(body, "\n")
		indent := line[:len(line)-len(trimmed)]
		// A comment in YAML, not a sentence, begins with a key or a list item.
		first := strings.TrimLeft(body, " -")
		key, _, isKey := strings.Cut(first, ":")
		if ok && indent != "" && isKey && !strings.Contains(key, " ") {
			line = indent + body + "\n"
			uncommented++
		}
		all = append(all, line)
	}
	require.Equal(t, 7, uncommented)
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(all, "")), 0o666))
	c := load(t, file)
	require.Len(t, c.RemoteWriteConfigs, 2)
	require.Equal(t, "agent", c.RemoteWriteConfigs[0].HTTPClientConfig.BasicAuth.Username)
	require.NotZero(t, c.RemoteWriteConfigs[0].QueueConfig.SampleAgeLimit)
}

// Of many targets each is scraped by one agent, and each agent has a good part of them.
func TestShards(t *testing.T) {
	job := func(c *config.Config) *config.ScrapeConfig {
		for _, s := range c.ScrapeConfigs {
			if s.JobName == "node" {
				return s
			}
		}
		t.Fatal("no job node")
		return nil
	}
	const targets = 1000
	agents := []*config.Config{load(t, examples+"/sharded/agent-0.yml"), load(t, examples+"/sharded/agent-1.yml")}
	var addresses []string
	text, err := os.ReadFile(examples + "/sharded/targets/nodes.yml")
	require.NoError(t, err)
	var groups []*targetgroup.Group
	require.NoError(t, yaml.Unmarshal(text, &groups))
	for _, g := range groups {
		for _, target := range g.Targets {
			addresses = append(addresses, string(target[model.AddressLabel]))
		}
	}
	require.Len(t, addresses, 6)
	for i := range targets {
		addresses = append(addresses, fmt.Sprintf("10.0.%d.%d:9100", i/250, i%250))
	}
	had := make([]int, len(agents))
	for _, address := range addresses {
		keepers := 0
		for i, c := range agents {
			b := labels.NewBuilder(labels.FromStrings(model.AddressLabel, address))
			if relabel.ProcessBuilder(b, job(c).RelabelConfigs...) {
				keepers++
				had[i]++
			}
		}
		require.Equal(t, 1, keepers, "%s", address)
	}
	for i, n := range had {
		require.Greater(t, n, targets/3, "agent %d", i)
	}

	// They differ in their number only, and external labels tell them apart.
	var texts []string
	for i := range agents {
		text, err := os.ReadFile(fmt.Sprintf("%s/sharded/agent-%d.yml", examples, i))
		require.NoError(t, err)
		_, text, _ = bytes.Cut(text, []byte("\n\n"))
		texts = append(texts, strings.ReplaceAll(string(text), fmt.Sprintf("%q", fmt.Sprint(i)), `"N"`))
	}
	require.Equal(t, texts[0], texts[1])
	require.NotEqual(t, agents[0].GlobalConfig.ExternalLabels, agents[1].GlobalConfig.ExternalLabels)
}

// A series goes to the tenant that it belongs to, and to no other.
func TestTenants(t *testing.T) {
	c := load(t, examples+"/mimir/prometheus.yml")
	for tenant, want := range map[string]string{"shop": "shop", "billing": "billing", "": "infrastructure", "else": "infrastructure"} {
		var got []string
		for _, rw := range c.RemoteWriteConfigs {
			b := labels.NewBuilder(labels.FromStrings("__name__", "up", "tenant", tenant))
			if relabel.ProcessBuilder(b, rw.WriteRelabelConfigs...) {
				got = append(got, rw.Headers["X-Scope-OrgID"])
			}
		}
		require.Equal(t, []string{want}, got, "%q", tenant)
	}
}

// decoded reads the objects of a file strictly: a field that the API does not have is an
// error.
func decoded(t *testing.T, name string) (all []any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, name))
	require.NoError(t, err)
	kinds := map[string]func() any{
		"v1/Namespace":      func() any { return &corev1.Namespace{} },
		"v1/ServiceAccount": func() any { return &corev1.ServiceAccount{} },
		"v1/ConfigMap":      func() any { return &corev1.ConfigMap{} },
		"v1/Service":        func() any { return &corev1.Service{} },
		"rbac.authorization.k8s.io/v1/ClusterRole":        func() any { return &rbacv1.ClusterRole{} },
		"rbac.authorization.k8s.io/v1/ClusterRoleBinding": func() any { return &rbacv1.ClusterRoleBinding{} },
		"apps/v1/StatefulSet":                             func() any { return &appsv1.StatefulSet{} },
		"monitoring.coreos.com/v1alpha1/PrometheusAgent":  func() any { return &monitoringv1alpha1.PrometheusAgent{} },
	}
	for documents := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var document yaml.Node
		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			require.NotEmpty(t, all)
			return all
		}
		require.NoError(t, err)
		one, err := yaml.Marshal(&document)
		require.NoError(t, err)
		var kind metav1.TypeMeta
		require.NoError(t, sigsyaml.Unmarshal(one, &kind))
		make, ok := kinds[kind.APIVersion+"/"+kind.Kind]
		require.True(t, ok, "%s: unknown kind %s/%s", name, kind.APIVersion, kind.Kind)
		object := make()
		require.NoError(t, sigsyaml.UnmarshalStrict(one, object), "%s: %s", name, kind.Kind)
		all = append(all, object)
	}
}

func only[T any](t *testing.T, all []any) T {
	t.Helper()
	var found []T
	for _, o := range all {
		if one, ok := o.(T); ok {
			found = append(found, one)
		}
	}
	require.Len(t, found, 1)
	return found[0]
}

// version is what packaging/VERSION names, in the form of image tags, which have no plus.
func version(t *testing.T) (upstreams, tag string) {
	t.Helper()
	text, err := os.ReadFile(root + "/packaging/VERSION")
	require.NoError(t, err)
	named := strings.TrimSpace(string(text))
	upstreams, _, ok := strings.Cut(named, "+")
	require.True(t, ok)
	return upstreams, strings.ReplaceAll(named, "+", "-")
}

// What docs/operations.md asks of an agent on Kubernetes: a volume that outlives the pod,
// a limit below its size, and the user that the image has.
func TestKubernetes(t *testing.T) {
	all := decoded(t, "kubernetes/agent.yaml")
	set := only[*appsv1.StatefulSet](t, all)
	pod := set.Spec.Template.Spec
	require.Len(t, pod.Containers, 1)
	agent := pod.Containers[0]
	_, tag := version(t)
	require.Equal(t, "registry.example.com/ackwal:"+tag, agent.Image)
	require.Contains(t, agent.Args, "--storage.agent.path=/prometheus")
	require.True(t, *pod.SecurityContext.RunAsNonRoot)
	require.Equal(t, int64(nobody), *pod.SecurityContext.RunAsUser)
	require.True(t, *agent.SecurityContext.ReadOnlyRootFilesystem)

	require.Len(t, set.Spec.VolumeClaimTemplates, 1)
	claim := set.Spec.VolumeClaimTemplates[0]
	require.Contains(t, agent.VolumeMounts, corev1.VolumeMount{Name: claim.Name, MountPath: "/prometheus"})
	size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	require.Contains(t, agent.Args, fmt.Sprintf("--storage.agent.retention.max-size=%dGB", size.Value()*8/10>>30))

	require.Equal(t, set.Spec.Selector.MatchLabels, set.Spec.Template.Labels)
	service := only[*corev1.Service](t, all)
	require.Equal(t, service.Name, set.Spec.ServiceName)
	require.Equal(t, set.Spec.Template.Labels, service.Spec.Selector)
	account := only[*corev1.ServiceAccount](t, all)
	require.Equal(t, account.Name, pod.ServiceAccountName)
	binding := only[*rbacv1.ClusterRoleBinding](t, all)
	require.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: account.Name, Namespace: account.Namespace}}, binding.Subjects)
	require.Equal(t, only[*rbacv1.ClusterRole](t, all).Name, binding.RoleRef.Name)

	files := only[*corev1.ConfigMap](t, all)
	require.Equal(t, files.Name, pod.Volumes[0].ConfigMap.Name)
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(files.Data["prometheus.yml"]), 0o666))
	// Not by promtool: that of the tests is without service discovery.
	requireNamedEndpoints(t, load(t, file))
}

func TestPrometheusOperator(t *testing.T) {
	agent := only[*monitoringv1alpha1.PrometheusAgent](t, decoded(t, "prometheus-operator/agent.yaml"))
	upstreams, tag := version(t)
	require.Equal(t, upstreams, agent.Spec.Version)
	require.Equal(t, "registry.example.com/ackwal:"+tag, *agent.Spec.Image)
	require.NotNil(t, agent.Spec.Storage)
	size := agent.Spec.Storage.VolumeClaimTemplate.Spec.Resources.Requests[corev1.ResourceStorage]
	require.Equal(t, "storage.agent.retention.max-size", agent.Spec.AdditionalArgs[0].Name)
	require.Equal(t, fmt.Sprintf("%dGB", size.Value()*8/10>>30), agent.Spec.AdditionalArgs[0].Value)
	for _, rw := range agent.Spec.RemoteWrite {
		require.NotNil(t, rw.Name)
	}
}

// A field that does not exist is found: the tests above look strictly.
func TestUnknownFieldsAreFound(t *testing.T) {
	const bad = "apiVersion: apps/v1\nkind: StatefulSet\nspec: {serviceNam: x}\n"
	require.ErrorContains(t, sigsyaml.UnmarshalStrict([]byte(bad), &appsv1.StatefulSet{}), "serviceNam")
}
