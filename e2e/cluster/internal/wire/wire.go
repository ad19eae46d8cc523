// Package wire holds what the cluster library (the parent, outside) and the supervisor (PID 1, inside the
// namespaces) have to agree on: the start configuration, the messages back, and the addresses.
package wire

import "time"

// Addresses inside the cluster's network namespace. The pod range is 10.244.0.0/16: 10.244.0.0/24 is for the
// servers that run beside the pods, pods get the rest.
const (
	NodeIP       = "10.244.0.1"
	PrometheusIP = "10.244.0.2"
	TraefikIP    = "10.244.0.3"
	GitIP        = "10.244.0.4"
	SlackIP      = "10.244.0.5"
	OutsideIP    = "10.244.0.6"
	MetricsIP    = "10.244.0.7"
	GatewayIP    = "10.244.0.8"
	DNSIP        = "10.96.0.10"
	PodCIDR      = "10.244.0.0/16"
	ServiceCIDR  = "10.96.0.0/16"
	NodeName     = "local"
	Domain       = "cluster.local"

	APIServerAddr  = NodeIP + ":6443"
	KubeletAddr    = NodeIP + ":10250"
	GatewayAddr    = TraefikIP + ":8080"
	TraefikMetrics = TraefikIP + ":8082"
	PrometheusAddr = PrometheusIP + ":9090"
	GitHTTPAddr    = GitIP + ":80"
	GitSSHAddr     = GitIP + ":22"
	SlackAddr      = SlackIP + ":80"
	MetricsAddr    = MetricsIP + ":8443"
	MetricsPort    = 8443
	// TestGatewayAddr serves users, TestGatewayControl package gateway's control API.
	TestGatewayAddr    = GatewayIP + ":8080"
	TestGatewayControl = GatewayIP + ":8081"
)

// What only the cluster has in the root file system of containers. Volumes of pods hide host paths, those of programs
// too (a checkout below /tmp, say); they cannot hide these, unless a pod mounts something right there.
const (
	// ProgramsDir has a link to each program. It is the working directory and in the PATH of containers.
	ProgramsDir = "/.siskin/programs"
	// ImagesDir has the directory of each program, numbered.
	ImagesDir = "/.siskin/images"
)

// MarkerEnv is set in the environment of every process of a cluster to the cluster's id, so that a test (or a
// suspicious human) can find what a cluster has left behind. It must be nothing.
const MarkerEnv = "SISKIN_CLUSTER_ID"

// Program is what the node agent runs for an image.
type Program struct {
	// Path of the executable. Empty means that the pod has no process at all: it is ready at once. Its directory must be
	// there when the cluster starts: containers see it at another place, where no volume of theirs hides it.
	Path string `json:"path"`
	// Args are put before the arguments of the container.
	Args []string `json:"args,omitempty"`
	// Env is put before the environment of the container.
	Env []string `json:"env,omitempty"`
	// HostFlag names the flag that binds the program to one address ("--host"). It is used only on machines
	// without veth devices, where all pods share one network namespace.
	HostFlag string `json:"hostFlag,omitempty"`
}

// Forward is a listener opened outside (on 127.0.0.1) and passed in: each connection is forwarded to Target.
type Forward struct {
	Name   string `json:"name"`
	FD     int    `json:"fd"`
	Port   int    `json:"port"`
	Target string `json:"target"`
}

// Config is all that the supervisor is told.
type Config struct {
	ID        string             `json:"id"`
	Dir       string             `json:"dir"`
	KeepDir   bool               `json:"keepDir"`
	BinDir    string             `json:"binDir"`
	Self      string             `json:"self"`
	Token     string             `json:"token"`
	StatusFD  int                `json:"statusFD"`
	ControlFD int                `json:"controlFD"`
	ProxyFD   int                `json:"proxyFD"`
	Forwards  []Forward          `json:"forwards"`
	Programs  map[string]Program `json:"programs"`
	CRDs      []string           `json:"crds"`
	Traefik   bool               `json:"traefik"`
	// TestGateway runs package gateway beside Traefik, or instead of it.
	TestGateway bool `json:"testGateway"`
	Nginx       bool `json:"nginx"`
	Prometheus  bool `json:"prometheus"`
	Git         bool `json:"git"`
	Slack       bool `json:"slack"`
	MetricsAPI  bool `json:"metricsAPI"`
	// PodEnv is in the environment of every container.
	PodEnv []string `json:"podEnv,omitempty"`
	// SharedNetwork puts all pods into one network namespace.
	SharedNetwork bool `json:"sharedNetwork,omitempty"`
	// Reverse is a unix socket of the parent: connections to OutsideIP:port go through it to 127.0.0.1:port.
	Reverse      string        `json:"reverse,omitempty"`
	ReversePorts []int         `json:"reversePorts,omitempty"`
	StartTimeout time.Duration `json:"startTimeout"`
}

// Event is a line of JSON that the supervisor writes to the status pipe.
type Event struct {
	// Type is "progress", "ready", "failed" or "exited".
	Type    string `json:"type"`
	Message string `json:"message,omitempty"`
}

// SlackMessage is a message that the Slack server received.
type SlackMessage struct {
	// Method is the Web API method ("chat.postMessage") or "webhook".
	Method  string    `json:"method"`
	Channel string    `json:"channel"`
	Text    string    `json:"text"`
	Raw     string    `json:"raw"`
	Time    time.Time `json:"time"`
}
