package devstack_test

const killsWithParent = true
