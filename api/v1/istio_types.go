package v1

import "k8s.io/apimachinery/pkg/runtime"

// Retries of requests that failed.
type Retries struct {
	// attempts is how often a request is tried again; 0: never.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	Attempts int32 `json:"attempts,omitempty"`
	// perTryTimeout of one attempt, for example "2s". Default: the timeout of the request.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
	// +optional
	PerTryTimeout string `json:"perTryTimeout,omitempty"`
	// retryOn says after which failures, separated by commas, for example "gateway-error,connect-failure,503". Default: the
	// router's.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	RetryOn string `json:"retryOn,omitempty"`
	// retryRemoteLocalities lets an attempt go to another locality. Default: the router's.
	// +optional
	RetryRemoteLocalities *bool `json:"retryRemoteLocalities,omitempty"`
}

// CorsPolicy tells browsers which pages of other origins may ask.
type CorsPolicy struct {
	// allowOrigin are origins, word for word; "*" is any. allowOrigins can do more.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=atomic
	// +optional
	AllowOrigin []string `json:"allowOrigin,omitempty"`
	// allowOrigins are matches of origins.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	AllowOrigins []StringMatch `json:"allowOrigins,omitempty"`
	// allowMethods are the methods that they may use.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=64
	// +listType=atomic
	// +optional
	AllowMethods []string `json:"allowMethods,omitempty"`
	// allowHeaders are the headers that they may send.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=atomic
	// +optional
	AllowHeaders []string `json:"allowHeaders,omitempty"`
	// exposeHeaders are the headers of answers that they may read.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=atomic
	// +optional
	ExposeHeaders []string `json:"exposeHeaders,omitempty"`
	// maxAge is how long a browser may remember this, for example "24h". Default: the browser's.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
	// +optional
	MaxAge string `json:"maxAge,omitempty"`
	// allowCredentials lets them send cookies. Default false.
	// +optional
	AllowCredentials bool `json:"allowCredentials,omitempty"`
}

// TrafficPolicy is the trafficPolicy of Istio's DestinationRule, as it is: what the API server takes there it takes here.
//
// +kubebuilder:pruning:PreserveUnknownFields
// +kubebuilder:validation:Type=object
type TrafficPolicy struct {
	runtime.RawExtension `json:",inline"`
}
