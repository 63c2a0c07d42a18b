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

package exposition

import (
	"fmt"
	"slices"
	"strings"
)

// nodeExporter is a machine: many metrics without a label of their own, and
// more for each of its processors, interfaces, disks and file systems.
var nodeExporter = shape{
	job: "node-exporter",
	metrics: slices.Concat(
		family("node_memory_%s_bytes", "Memory information field %s.", gauge, page, movement{level, 4e9},
			"Active", "Active_anon", "Active_file", "AnonHugePages", "AnonPages", "Buffers", "Cached", "CommitLimit",
			"Committed_AS", "Dirty", "Inactive", "Inactive_anon", "Inactive_file", "KernelStack", "Mapped", "MemAvailable",
			"MemFree", "MemTotal", "PageTables", "SReclaimable", "SUnreclaim", "Shmem", "Slab", "SwapTotal", "VmallocUsed", "Writeback"),
		family("node_netstat_%s", "Statistic %s.", counter, page, movement{whole, 40},
			"Icmp_InErrors", "Icmp_InMsgs", "Icmp_OutMsgs", "Ip_Forwarding", "IpExt_InOctets", "IpExt_OutOctets", "TcpExt_ListenDrops",
			"TcpExt_ListenOverflows", "TcpExt_SyncookiesSent", "TcpExt_TCPSynRetrans", "TcpExt_TCPTimeouts", "Tcp_ActiveOpens",
			"Tcp_InErrs", "Tcp_InSegs", "Tcp_OutRsts", "Tcp_OutSegs", "Tcp_PassiveOpens", "Tcp_RetransSegs", "Udp_InDatagrams", "Udp_OutDatagrams"),
		family("node_vmstat_%s", "/proc/vmstat information field %s.", counter, page, movement{whole, 900}, "oom_kill", "pgfault", "pgmajfault", "pgpgin", "pgpgout", "pswpin", "pswpout"),
		family("node_load%s", "%sm load average.", gauge, page, movement{level, 3}, "1", "5", "15"),
		[]metric{
			{name: "node_boot_time_seconds", help: "Node boot time, in unixtime.", typ: gauge, move: movement{fixed, 1.764e9}},
			{name: "node_context_switches_total", help: "Total number of context switches.", typ: counter, move: movement{whole, 9000}},
			{name: "node_forks_total", help: "Total number of forks.", typ: counter, move: movement{whole, 12}},
			{
				name: "node_uname_info", help: "Labeled system information as provided by the uname system call.", typ: gauge, move: movement{fixed, 1},
				dims: []string{`domainname="(none)",machine="x86_64",release="6.1.0-28-cloud-amd64",sysname="Linux",version="#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1"`},
			},
			{
				name: "node_scrape_collector_success", help: "node_exporter: Whether a collector succeeded.", typ: gauge, move: movement{fixed, 1},
				dims: dim("collector", "arp", "bcache", "bonding", "conntrack", "cpu", "diskstats", "edac", "entropy", "filefd", "filesystem", "loadavg", "meminfo", "netdev", "netstat", "sockstat", "stat", "time", "uname", "vmstat"),
			},
			{
				name: "node_cpu_seconds_total", help: "Seconds the CPUs spent in each mode.", typ: counter, by: cpu, move: movement{seconds, 0.3},
				dims: dim("mode", "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"),
			},
			{
				name: "node_cpu_guest_seconds_total", help: "Seconds the CPUs spent in guests (VMs) for each mode.", typ: counter, by: cpu, move: movement{fixed, 0},
				dims: dim("mode", "nice", "user"),
			},
		},
		family("node_network_%s_total", "Network device statistic %s.", counter, network, movement{whole, 20000},
			"receive_bytes", "receive_compressed", "receive_drop", "receive_errs", "receive_fifo", "receive_frame", "receive_multicast", "receive_packets",
			"transmit_bytes", "transmit_carrier", "transmit_colls", "transmit_compressed", "transmit_drop", "transmit_errs", "transmit_fifo", "transmit_packets"),
		family("node_network_%s", "Network device property: %s", gauge, network, movement{fixed, 1}, "up", "mtu_bytes", "carrier"),
		family("node_disk_%s_total", "Disk statistic %s.", counter, disk, movement{seconds, 2},
			"io_time_seconds", "io_time_weighted_seconds", "read_bytes", "read_time_seconds", "reads_completed", "reads_merged",
			"write_time_seconds", "writes_completed", "writes_merged", "written_bytes"),
		family("node_filesystem_%s", "Filesystem property %s.", gauge, filesystem, movement{level, 8e10},
			"avail_bytes", "files", "files_free", "free_bytes", "readonly", "size_bytes"),
	),
	filler: filling("node_systemd_unit_state", "Systemd unit", `name="unit-%d.service",state="active",type="simple"`),
	labels: func(i int) map[string]string {
		r := seeded(1, i)
		return map[string]string{
			"instance": address(i, 9100), "namespace": "monitoring", "container": "node-exporter", "pod": "node-exporter-" + r.digits(5, podChars), "node": node(i),
		}
	},
	describe: func(by subject, target, i, generation int) string {
		switch by {
		case cpu:
			return `cpu="` + number(i) + `"`
		case network:
			if i < 2 && generation == 0 {
				return `device="eth` + number(i) + `"`
			}
			r := seeded(2, target, i, generation) // One of a pod.
			return `device="veth` + r.digits(8, hex) + `"`
		case disk:
			return `device="nvme` + number(i) + `n1"`
		default:
			return fmt.Sprintf(`device="/dev/nvme%dn1",device_error="",fstype="ext4",mountpoint="/var/lib/data/%d"`, i, i)
		}
	},
}

// cAdvisor is a kubelet's page about its containers, with long labels that all
// series of a container share.
var cAdvisor = shape{
	job: "kubelet", honor: true,
	metrics: slices.Concat(
		family("container_cpu_%s_total", "Cumulative cpu statistic %s.", counter, pod, movement{seconds, 0.1},
			"usage_seconds", "user_seconds", "system_seconds", "cfs_periods", "cfs_throttled_periods", "cfs_throttled_seconds"),
		family("container_memory_%s", "Memory statistic %s.", gauge, pod, movement{level, 3e8},
			"cache", "failcnt", "kernel_usage", "mapped_file", "max_usage_bytes", "rss", "swap", "usage_bytes", "working_set_bytes", "active_file_bytes"),
		family("container_fs_%s_total", "Filesystem statistic %s.", counter, pod, movement{whole, 300}, "reads_bytes", "reads", "writes_bytes", "writes"),
		family("container_spec_%s", "Limit or share: %s", gauge, pod, movement{fixed, 1024}, "cpu_period", "cpu_quota", "cpu_shares", "memory_limit_bytes", "memory_reservation_limit_bytes"),
		family("container_%s", "Property of the container: %s", gauge, pod, movement{level, 12}, "file_descriptors", "processes", "threads", "threads_max", "last_seen", "start_time_seconds"),
		[]metric{{
			name: "container_memory_failures_total", help: "Cumulative count of memory allocation failures.", typ: counter, by: pod, move: movement{whole, 60},
			dims: each(dim("failure_type", "pgfault", "pgmajfault"), dim("scope", "container", "hierarchy")),
		}},
	),
	filler: filling("container_tasks_state", "Number of tasks in given state", `container="",id="/system.slice/unit-%d.service",image="",name="",namespace="",pod="",state="running"`),
	labels: func(i int) map[string]string {
		return map[string]string{"instance": address(i, 10250), "node": node(i), "metrics_path": "/metrics/cadvisor"}
	},
	describe: func(_ subject, target, i, generation int) string {
		r := seeded(3, target, i, generation)
		of := service(target + i)
		id := r.digits(64, hex)
		return fmt.Sprintf(`container=%q,id="/kubepods/burstable/pod%s/%s",image="registry.internal/%s:v1.%d.%d",name=%q,namespace=%q,pod=%q`,
			of, uid(&r), id, of, (target+i)%40, generation, id, namespace(target+i), podName(of, &r))
	},
}

// kubeState is a shard of kube-state-metrics: what the cluster knows of pods,
// most of which never moves.
var kubeState = shape{
	job: "kube-state-metrics", honor: true,
	metrics: []metric{
		{name: "kube_pod_info", help: "Information about pod.", typ: gauge, by: pod, move: movement{fixed, 1}, dims: []string{`created_by_kind="ReplicaSet",host_network="false",priority_class=""`}},
		{name: "kube_pod_created", help: "Unix creation timestamp", typ: gauge, by: pod, move: movement{fixed, 1.7641e9}},
		{name: "kube_pod_start_time", help: "Start time in unix timestamp for a pod.", typ: gauge, by: pod, move: movement{fixed, 1.7641e9}},
		{name: "kube_pod_status_phase", help: "The pods current phase.", typ: gauge, by: pod, move: movement{fixed, 1}, dims: dim("phase", "Failed", "Pending", "Running", "Succeeded", "Unknown")},
		{name: "kube_pod_status_ready", help: "Describes whether the pod is ready to serve requests.", typ: gauge, by: pod, move: movement{fixed, 1}, dims: dim("condition", "false", "true", "unknown")},
		{name: "kube_pod_status_scheduled", help: "Describes the status of the scheduling process for the pod.", typ: gauge, by: pod, move: movement{fixed, 1}, dims: dim("condition", "false", "true", "unknown")},
		{name: "kube_pod_status_reason", help: "The pod status reasons", typ: gauge, by: pod, move: movement{fixed, 0}, dims: dim("reason", "Evicted", "NodeAffinity", "NodeLost", "Shutdown", "UnexpectedAdmissionError")},
		{name: "kube_pod_owner", help: "Information about the Pod's owner.", typ: gauge, by: pod, move: movement{fixed, 1}, dims: []string{`owner_kind="ReplicaSet",owner_is_controller="true"`}},
		{name: "kube_pod_container_info", help: "Information about a container in a pod.", typ: gauge, by: pod, move: movement{fixed, 1}, dims: []string{`container="app",image="registry.internal/app:v1.14.2"`}},
		{name: "kube_pod_container_status_ready", help: "Describes whether the containers readiness check succeeded.", typ: gauge, by: pod, move: movement{fixed, 1}, dims: dim("container", "app")},
		{name: "kube_pod_container_status_restarts_total", help: "The number of container restarts per container.", typ: counter, by: pod, move: movement{whole, 0.0001}, dims: dim("container", "app")},
		{name: "kube_pod_container_resource_requests", help: "The number of requested request resource by a container.", typ: gauge, by: pod, move: movement{fixed, 0.25}, dims: []string{`container="app",resource="cpu",unit="core"`, `container="app",resource="memory",unit="byte"`}},
		{name: "kube_pod_container_resource_limits", help: "The number of requested limit resource by a container.", typ: gauge, by: pod, move: movement{fixed, 5.36870912e8}, dims: []string{`container="app",resource="cpu",unit="core"`, `container="app",resource="memory",unit="byte"`}},
	},
	filler: filling("kube_configmap_created", "Unix creation timestamp", `namespace="kube-system",configmap="config-%d"`),
	labels: func(i int) map[string]string {
		return map[string]string{"instance": address(i, 8080), "endpoint": "http"}
	},
	describe: func(_ subject, target, i, generation int) string {
		r := seeded(4, target, i, generation)
		return fmt.Sprintf(`namespace=%q,node=%q,pod=%q,uid=%q`, namespace(target+i), node(i), podName(service(target+i), &r), uid(&r))
	},
}

// application is an instrumented service: what the client library tells about
// the process, and requests by route.
func application(latency metricType) shape {
	byRoute := []metric{
		{name: "http_requests_total", help: "Number of requests that were answered.", typ: counter, by: route, move: movement{whole, 8}, dims: dim("code", "200", "400", "404", "500")},
		{name: "http_request_duration_seconds", help: "Time that requests took.", typ: latency, by: route, move: movement{seconds, 0.08}},
		{name: "http_requests_in_flight", help: "Requests under way.", typ: gauge, by: route, move: movement{level, 4}},
		{name: "http_response_bytes_total", help: "Bytes of all answers.", typ: counter, by: route, move: movement{whole, 30000}},
	}
	if latency == native {
		byRoute = append(byRoute, metric{name: "http_response_size_bytes", help: "Size of answers.", typ: native, by: route, move: movement{whole, 2000}})
	}
	return shape{
		job: "pods",
		metrics: slices.Concat(
			family("process_%s", "Process statistic %s.", gauge, page, movement{level, 2e8}, "open_fds", "max_fds", "resident_memory_bytes", "virtual_memory_bytes"),
			family("go_memstats_%s_bytes", "Memory statistic %s.", gauge, page, movement{level, 9e7}, "alloc", "heap_alloc", "heap_idle", "heap_inuse", "heap_sys", "next_gc", "sys"),
			[]metric{
				{name: "process_cpu_seconds_total", help: "Total user and system CPU time spent in seconds.", typ: counter, move: movement{seconds, 0.2}},
				{name: "go_goroutines", help: "Number of goroutines that currently exist.", typ: gauge, move: movement{level, 140}},
				{name: "go_gc_duration_seconds", help: "A summary of the wall-time pause (stop-the-world) duration in garbage collection cycles.", typ: summary, move: movement{level, 0.04}, dims: dim("quantile", "0.0", "0.5", "1.0")},
			},
			byRoute,
		),
		filler: filling("feature_enabled", "Whether a feature is enabled.", `feature="release-%d"`),
		labels: func(i int) map[string]string {
			r := seeded(5, i)
			of := service(i)
			return map[string]string{
				"instance": address(i, 8080), "namespace": namespace(i), "pod": podName(of, &r), "container": of, "node": node(i / 8),
				"version": fmt.Sprintf("v1.%d.%d", i%40, i%3),
			}
		},
		describe: func(_ subject, target, i, generation int) string {
			r := seeded(6, target%len(services), i, generation) // Replicas have the same routes.
			return fmt.Sprintf(`method=%q,route="/api/v2/%s/%s/{id}"`, []string{"GET", "POST", "PUT"}[i%3], service(i), strings.ToLower(r.digits(6, podChars)))
		},
	}
}
