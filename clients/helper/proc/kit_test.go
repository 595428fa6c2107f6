package proc

import "github.com/valetkey/valetkey/broker/brokertest/clienttest"

var must = clienttest.Must
