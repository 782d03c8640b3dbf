// kafkajs as its users use it: node kafkajs.js ADDRESS. Prints what it saw as one line of JSON.
const { Kafka, logLevel } = require('kafkajs')

const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.ERROR })

const read = async (topic, groupId, count) => {
  const consumer = kafka.consumer({ groupId, readUncommitted: false, maxWaitTimeInMs: 100 })
  const values = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await new Promise(resolve =>
    consumer.run({
      eachMessage: async ({ message }) => {
        values.push(message.value.toString())
        if (values.length === count) resolve()
      },
    })
  )
  await consumer.disconnect()
  return values
}

const main = async () => {
  const seen = {}
  const admin = kafka.admin()
  await admin.connect()
  seen.created = await admin.createTopics({ topics: [{ topic: 'js', numPartitions: 3 }, { topic: 'js-tx' }] })
  seen.partitions = (await admin.fetchTopicMetadata({ topics: ['js'] })).topics[0].partitions.length
  await admin.createPartitions({ topicPartitions: [{ topic: 'js', count: 4 }] })
  await admin.alterConfigs({ resources: [{ type: 2, name: 'js', configEntries: [{ name: 'retention.ms', value: '5000000' }] }] })
  const configs = await admin.describeConfigs({ resources: [{ type: 2, name: 'js', configNames: ['retention.ms'] }] })
  seen.retention = configs.resources[0].configEntries[0].configValue

  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  await producer.send({ topic: 'js', messages: Array.from({ length: 100 }, (_, n) => ({ key: `k${n}`, value: `v${n}`, headers: { n: `${n}` } })) })
  await producer.sendBatch({ compression: 1, topicMessages: [{ topic: 'js', messages: [{ key: 'z', value: 'gzip' }] }] })
  await producer.disconnect()
  seen.read = (await read('js', 'js-group', 101)).sort()

  const transactional = kafka.producer({ transactionalId: 'js-id', maxInFlightRequests: 1, idempotent: true })
  await transactional.connect()
  for (const value of ['committed', 'aborted', 'again']) {
    const transaction = await transactional.transaction()
    await transaction.send({ topic: 'js-tx', messages: [{ value }] })
    if (value === 'aborted') await transaction.abort()
    else {
      const offsets = [{ partition: 0, offset: value === 'again' ? '7' : '3' }]
      await transaction.sendOffsets({ consumerGroupId: 'js-tx-group', topics: [{ topic: 'js', partitions: offsets }] })
      await transaction.commit()
    }
  }
  await transactional.disconnect()
  seen.committed = await read('js-tx', 'js-tx-reader', 2)
  const offsets = await admin.fetchOffsets({ groupId: 'js-tx-group', topics: ['js'] })
  seen.offset = offsets[0].partitions.find(each => each.partition === 0).offset
  const ends = await admin.fetchTopicOffsets('js')
  seen.ends = ends.reduce((sum, each) => sum + Number(each.high), 0)
  await admin.resetOffsets({ groupId: 'js-group', topic: 'js', earliest: true })
  await admin.deleteTopicRecords({ topic: 'js', partitions: [{ partition: 0, offset: '1' }] })
  seen.low = (await admin.fetchTopicOffsets('js')).find(each => each.partition === 0).low
  seen.groups = (await admin.listGroups()).groups.map(each => each.groupId).sort()
  seen.state = (await admin.describeGroups(['js-group'])).groups[0].state
  await admin.deleteGroups(['js-group'])
  await admin.deleteTopics({ topics: ['js'] })
  seen.topics = (await admin.listTopics()).filter(name => !name.startsWith('__'))
  seen.brokers = (await admin.describeCluster()).brokers.length
  await admin.disconnect()
  console.log(JSON.stringify(seen))
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
